"""Scores that ``predict`` writes, with p-values calibrated on held-out items."""

import csv
import shutil
import tarfile
from pathlib import Path

import pytest
import torch

from lightning_flows.app.cli import main, run
from lightning_flows.callbacks.item_scores import joined, scored
from lightning_flows.checkpoints import describe
from lightning_flows.data import ImageFolderDataModule
from lightning_flows.errors import UsageError
from lightning_flows.modules import load_model
from lightning_flows.reporting.outliers.columns import score_columns

OF_IMAGES = ["log_likelihood", "bpd", "bpd_minus_png", "typicality", "p_likelihood", "p_typicality", "p_complexity"]


def read(path: Path) -> dict[str, list[str]]:
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return {key: [row[key] for row in rows] for key in rows[0]}


def scores(checkpoint: Path, folder: Path, *options: str) -> dict[str, list[str]]:
    """Columns that ``predict`` writes."""
    main(["predict", f"--ckpt_path={checkpoint}", f"--out={folder / 'scores.csv'}", "--overwrite", *options])
    return read(folder / "scores.csv")


def floats(values: list[str]) -> torch.Tensor:
    return torch.tensor([float(each) for each in values], dtype=torch.float64)


def test_columns_are_the_scores_of_the_items_and_of_the_validation_split(trained: Path, tmp_path: Path) -> None:
    found = scores(trained, tmp_path, "--false_alarm_rate=0.1", "--data.eval_batch_size=20")
    assert list(found) == ["index", "name", *OF_IMAGES, "outlier"]
    model, data = load_model(trained), run(["validate", f"--ckpt_path={trained}"]).datamodule
    data.setup("predict")
    splits = []
    for loader in (data.predict_dataloader(), data.val_dataloader()):
        with torch.no_grad():
            parts = [scored(model.predict_step(batch, 0), "bpd") for batch in loader]
        splits.append(joined([part for part in parts if part is not None]))
    for name, expected in score_columns(*splits, 0.1).items():
        torch.testing.assert_close(floats(found[name]), expected.double(), rtol=1e-5, atol=1e-5)


def test_held_out_items_are_those_of_training_whatever_is_scored(
    trained: Path, image_tar: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    own, others = scores(trained, tmp_path), scores(trained, tmp_path, f"--images={image_tar}")
    mean = float(run(["validate", f"--ckpt_path={trained}"]).trainer.callback_metrics["val/bpd"])
    for each in (own, others):
        expected = (floats(each["bpd"]) - mean).abs()
        torch.testing.assert_close(floats(each["typicality"]), expected, rtol=0, atol=1e-5)
    assert not [each for each in recwarn if "trained on" in str(each.message)]
    calibrated = scores(trained, tmp_path, f"--images={image_tar}", f"--held_out={image_tar}")
    p = floats(calibrated["p_likelihood"])  # of the held-out images themselves
    torch.testing.assert_close(p.sort().values, torch.arange(2, 42) / 41, check_dtype=False)


def test_folders_are_prepared_like_the_data_of_training(trained: Path, image_tar: Path, tmp_path: Path) -> None:
    """Averaged over squares of pixels: held-out images are then like scored ones, so that p-values are uniform."""
    checkpoint = torch.load(trained, weights_only=True)
    checkpoint["lightning_flows"]["data"]["init_args"]["downsample"] = 2
    torch.save(checkpoint, tmp_path / "averaged.ckpt")
    options = [f"--images={image_tar}", f"--held_out={image_tar}"]
    found = scores(tmp_path / "averaged.ckpt", tmp_path, *options)
    torch.testing.assert_close(floats(found["p_likelihood"]).sort().values, torch.arange(2, 42).double() / 41)
    data = ImageFolderDataModule(str(image_tar), size=64, downsample=2)
    data.setup("predict")
    (batch,) = data.predict_dataloader()
    with torch.no_grad():
        expected = load_model(trained).predict_step(batch, 0)["log_likelihood"]
    torch.testing.assert_close(floats(found["log_likelihood"]), expected.double(), rtol=1e-5, atol=1e-2)


def test_fewer_held_out_items_are_chosen_once(trained: Path, tmp_path: Path) -> None:
    first, second = (scores(trained, tmp_path, "--num_held_out=9", *more) for more in ([], ["--data.batch_size=4"]))
    assert first["p_complexity"] == second["p_complexity"]
    assert {round(10 * float(each), 9) for each in first["p_complexity"]} <= set(range(1, 11))
    none = scores(trained, tmp_path, "--num_held_out=0")
    assert list(none) == ["index", "name", *OF_IMAGES[:3]]


def test_data_that_has_moved_leaves_no_p_values_and_says_why(
    trained: Path, image_tar: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    checkpoint = torch.load(trained, weights_only=True)
    record = {"class_path": "lightning_flows.data.ImageFolderDataModule", "init_args": {"root": "gone"}}
    checkpoint["lightning_flows"]["data"] = record
    torch.save(checkpoint, tmp_path / "moved.ckpt")
    options = [f"--images={image_tar}"]
    found = scores(tmp_path / "moved.ckpt", tmp_path, *options)
    assert list(found) == ["index", "name", *OF_IMAGES[:3]]
    assert [each for each in recwarn if "no p-values" in str(each.message) and "gone" in str(each.message)]
    advice = "pass --held_out with images like those in training, or omit --false_alarm_rate"
    with pytest.raises(UsageError, match=rf"rate 0.5 needs held-out items \(gone does not exist\): {advice}$"):
        run(["predict", f"--ckpt_path={tmp_path / 'moved.ckpt'}", *options, "--false_alarm_rate=0.5", "--overwrite"])


def test_scored_training_items_are_reported(
    trained: Path, image_tar: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    checkpoint = torch.load(trained, weights_only=True)
    checkpoint["lightning_flows"]["data"] = describe(ImageFolderDataModule(str(image_tar), val_fraction=0.2))
    torch.save(checkpoint, tmp_path / "all.ckpt")
    of_training = ["--data.augment=false", "--data.steps_per_epoch=5", "--data.skip_broken=true"]
    for command, expected in ((of_training, 1), (["--num_held_out=0"], 0)):
        recwarn.clear()
        scores(tmp_path / "all.ckpt", tmp_path, *command)
        assert len([each for each in recwarn if "trained on, whose p-values" in str(each.message)]) == expected
    recwarn.clear()
    copy = shutil.copy(image_tar, tmp_path / "others.tar")
    scores(tmp_path / "all.ckpt", tmp_path, f"--images={copy}")
    assert not [each for each in recwarn if "trained on" in str(each.message)]


def about_held_out(recwarn: pytest.WarningsRecorder) -> list[str]:
    """Warnings about items that are held out."""
    texts = [str(each.message) for each in recwarn]
    return [text for text in texts if "held-out items" in text and "no p-values" not in text]


def test_scored_items_that_are_held_out_are_reported(
    trained: Path, image_tar: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    with tarfile.open(image_tar) as tar:
        tar.extractall(tmp_path / "images", filter="data")
    shutil.copytree(tmp_path / "images/a", tmp_path / "others")  # copies of half of the images
    (tmp_path / "others/broken.png").write_bytes(b"")  # is skipped among held-out items
    scores(trained, tmp_path, f"--images={image_tar}", f"--held_out={tmp_path / 'others'}")
    assert [text.partition(" held-out")[0] for text in about_held_out(recwarn)] == [
        "20 of the 40 items that are scored are"
    ]
    for few, other in ((["--num_held_out=0"], "others"), ([], "images/b")):
        recwarn.clear()
        scores(trained, tmp_path, f"--images={tmp_path / 'others'}", "--data.skip_broken=true",
               f"--held_out={tmp_path / other}", *few)  # fmt: skip
        assert not about_held_out(recwarn)


def test_held_out_items_that_were_trained_on_are_reported(
    trained: Path, image_tar: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    (tmp_path / "linked").symlink_to(image_tar.parent)
    checkpoint = torch.load(trained, weights_only=True)
    record = describe(ImageFolderDataModule(str(tmp_path / "linked" / image_tar.name), val_fraction=0.2))
    checkpoint["lightning_flows"]["data"] = record
    torch.save(checkpoint, tmp_path / "all.ckpt")
    other = shutil.copy(image_tar, tmp_path / "others.tar")
    scores(tmp_path / "all.ckpt", tmp_path, f"--images={other}", f"--held_out={image_tar}", "--num_held_out=1")
    first, _ = about_held_out(recwarn)
    assert first == "the held-out items include those that were trained on: p-values of others are too low"
    recwarn.clear()
    scores(tmp_path / "all.ckpt", tmp_path, f"--data.root={image_tar}")  # the data of training by another name
    assert len([each for each in recwarn if "trained on, whose p-values" in str(each.message)]) == 1
    assert not about_held_out(recwarn)


def test_bad_options_are_refused_before_anything_is_written(trained: Path, tmp_path: Path) -> None:
    command = ["predict", f"--ckpt_path={trained}", f"--out={tmp_path / 'scores.csv'}"]
    for option, text in {
        "--false_alarm_rate=0": "rate 0 is not allowed: use a number above 0 and below 1",
        "--false_alarm_rate=0.01": "at least 99 held-out items, and 52 are used",
        "--num_held_out=-1": "num_held_out of at least 0",
        f"--page={tmp_path / 'scores.csv'}": "is not an HTML file",
        "--images=a --data.root=b": "--images a and --data.root are two places",
        "--images=a --data=DigitsDataModule": "and --data is DigitsDataModule: omit one",
    }.items():
        with pytest.raises(UsageError, match=text):
            run([*command, *option.split()])
    assert not list(tmp_path.iterdir())


def test_the_page_shows_the_strangest_images_first(trained: Path, image_tar: Path, tmp_path: Path) -> None:
    page = tmp_path / "strange.html"
    found = scores(trained, tmp_path, f"--images={image_tar}", "--false_alarm_rate=0.1", f"--page={page}")
    html = page.read_text()
    strangeness = floats(found["bpd_minus_png"])
    places = [html.index(f"{found['name'][i]}\n") for i in strangeness.argsort(descending=True)]
    assert places == sorted(places)
    assert html.count('class="flagged"') == sum(each == "1" for each in found["outlier"])
    assert "52 held-out images" in html
