"""Other files at the place of the data that a checkpoint was trained on."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_flows.app.cli import run
from lightning_flows.app.commands.trained import load_images, load_rows
from lightning_flows.app.default_trainer import default_trainer
from lightning_flows.checkpoints import read_checkpoint
from lightning_flows.checkpoints.recorded_data import data_record, has_changed, is_same
from lightning_flows.data import (
    ArrayImageDataModule,
    FlowDataModule,
    ImageFolderDataModule,
    SamplePhotosDataModule,
    TableDataModule,
    ToyDataModule,
)
from lightning_flows.errors import CheckpointError
from lightning_flows.flows import AutoregressiveFlow
from lightning_flows.modules import VectorFlowModule
from lightning_flows.reporting.tables import find_runs

WARNING = r"'rows.csv' is not the data that the checkpoint was trained on, but has \d+ bytes instead of \d+ bytes"


def write_rows(folder: Path, num: int) -> None:
    folder.mkdir(exist_ok=True)
    rows = np.random.default_rng(num).normal(size=(num, 2))
    np.savetxt(folder / "rows.csv", rows, delimiter=",", header="x,y", comments="")


def write_images(folder: Path, num: int) -> None:
    folder.mkdir(exist_ok=True)
    noise = np.random.default_rng(0).integers(256, size=(num, 8, 8, 3), dtype=np.uint8)
    for i, pixels in enumerate(noise):
        Image.fromarray(pixels).save(folder / f"{i}.png")
    np.save(folder.with_suffix(".npy"), noise)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of a run on rows.csv in the current folder."""
    folder = tmp_path_factory.mktemp("fitted")
    write_rows(folder, 200)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        options = ["--config=moons.yaml", "--data=TableDataModule", "--data.path=rows.csv", "--trainer.max_steps=1"]
        run(["fit", *options, "--trainer.enable_progress_bar=false"])
    return next(folder.rglob("last.ckpt"))


@pytest.mark.parametrize("command", ["test", "validate", "predict"])
def test_other_rows_at_the_same_relative_path_are_noticed(
    command: str, fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(tmp_path, 300)
    monkeypatch.chdir(tmp_path)
    with pytest.warns(UserWarning, match=WARNING):
        run([command, f"--ckpt_path={fitted}"])


@pytest.mark.filterwarnings("error:.*is not the data")
def test_the_same_rows_elsewhere_and_other_rows_by_choice_are_accepted(
    fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(tmp_path, 200)
    monkeypatch.chdir(tmp_path)
    run(["test", f"--ckpt_path={fitted}"])
    write_rows(tmp_path / "other", 300)
    run(["test", f"--ckpt_path={fitted}", "--data.path=other/rows.csv"])


def test_a_test_on_other_rows_is_not_the_test_of_the_run(
    fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = fitted.parents[1] / "tests.jsonl"
    write_rows(tmp_path, 400)
    with monkeypatch.context() as patch:
        patch.chdir(fitted.parents[4])
        run(["test", f"--ckpt_path={fitted}"])
    monkeypatch.chdir(tmp_path)
    with pytest.warns(UserWarning, match=WARNING):
        run(["test", f"--ckpt_path={fitted}"])
    own, other = map(json.loads, records.read_text().splitlines()[-2:])
    assert (own["is_other_data"], other["is_other_data"]) == (False, True)
    (kept,) = find_runs(fitted.parents[3])
    assert kept.test["num_items"] == own["num_items"] != other["num_items"]


def test_a_resumed_training_notices_other_rows(fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rows(tmp_path, 500)
    monkeypatch.chdir(tmp_path)
    options = ["--config=moons.yaml", "--data=TableDataModule", "--data.path=rows.csv", "--trainer.max_steps=2"]
    with pytest.warns(UserWarning, match=WARNING):
        run(["fit", f"--ckpt_path={fitted}", *options, "--trainer.enable_progress_bar=false"])


@pytest.mark.parametrize(
    "make",
    [lambda: ImageFolderDataModule("images", size=8), lambda: ArrayImageDataModule("images.npy")],
    ids=["folder", "array"],
)
def test_added_images_are_noticed(
    make: Callable[[], FlowDataModule], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images", 40)
    record = json.loads(json.dumps(data_record(make())))
    assert not has_changed(record, make())
    loaded = make()
    loaded.setup("fit")
    write_images(tmp_path / "images", 41)
    assert has_changed(record, make())
    assert not has_changed(record, loaded)  # read before
    assert not has_changed({"data": record["data"]}, make())
    assert not has_changed(record, SamplePhotosDataModule())


def test_images_split_by_position_are_refused(tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one image more, images of training would be tested."""
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images", 40)
    run(["fit", *tiny, "--data=ArrayImageDataModule", "--data.path=images.npy", "--trainer.max_epochs=1"])
    checkpoint = next(tmp_path.rglob("last.ckpt"))
    write_images(tmp_path / "images", 41)
    with pytest.raises(CheckpointError, match=r"'images.npy' is not the file that .*add --allow_split_change=true"):
        run(["test", f"--ckpt_path={checkpoint}"])
    with pytest.warns(UserWarning, match="'images.npy' is not the data"):
        run(["test", f"--ckpt_path={checkpoint}", "--allow_split_change=true"])
    with pytest.warns(UserWarning, match="'images.npy' is not the data"):
        load_images(str(checkpoint), run(["test", f"--ckpt_path={checkpoint}", "--allow_split_change"]).model)


def test_files_that_are_missing_or_pipes_have_no_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path, 50)
    data = TableDataModule("rows.csv")
    record = data_record(data)
    assert record["data_fingerprint"].endswith(data.fingerprint)
    (tmp_path / "rows.csv").unlink()
    del data.fingerprint
    assert data.fingerprint is None
    assert not has_changed(record, data)


def test_the_checkpoint_of_the_library_has_a_fingerprint(tmp_path: Path) -> None:
    write_rows(tmp_path, 200)
    data = TableDataModule(str(tmp_path / "rows.csv"), batch_size=50)
    trainer = default_trainer(fast_dev_run=True, enable_model_summary=False)
    trainer.fit(VectorFlowModule((2,), AutoregressiveFlow), data)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    assert read_checkpoint(tmp_path / "a.ckpt")["lightning_flows"]["data_fingerprint"] == data.fingerprint


def kept_test(checkpoint: Path, *options: str) -> dict[str, Any]:
    """Test a checkpoint; return the test that tables take for that of its run."""
    run(["test", f"--ckpt_path={checkpoint}", *options])
    (kept,) = find_runs(checkpoint.parents[3])
    return kept.test


def test_the_test_of_a_run_is_the_last_of_all_items_of_its_data(
    fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(fitted.parents[4])
    own = kept_test(fitted)
    assert (own["is_other_data"], own["is_partial"]) == (False, False)
    other = [
        ["--data.seed=5", "--allow_split_change=true"],
        ["--data.test_fraction=0.5", "--allow_split_change=true"],
        ["--trainer.limit_test_batches=1", "--data.eval_batch_size=4"],
    ]
    for options in other:
        assert kept_test(fitted, *options) == own
    records = [json.loads(line) for line in (fitted.parents[1] / "tests.jsonl").read_text().splitlines()[-3:]]
    assert [each["is_other_data"] for each in records] == [True, True, False]
    assert [each["is_partial"] for each in records] == [False, False, True]
    moved = tmp_path / "moved.csv"
    moved.write_bytes(Path("rows.csv").read_bytes())
    for path in ("./rows.csv", str(Path("rows.csv").resolve()), str(moved)):
        again = kept_test(fitted, f"--data.path={path}", "--data.eval_batch_size=7")
        assert again["time"] > own["time"]
        assert again["metrics"]["test/loss"] == pytest.approx(own["metrics"]["test/loss"])


def test_a_partial_test_counts_without_a_complete_one(
    fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "runs/moons"
    shutil.copytree(fitted.parents[2], copy)
    (copy / "version_0/tests.jsonl").unlink(missing_ok=True)
    monkeypatch.chdir(fitted.parents[4])
    checkpoint = copy / "version_0/checkpoints/last.ckpt"
    partial = kept_test(checkpoint, "--trainer.limit_test_batches=1", "--data.eval_batch_size=4")
    assert (partial["num_items"], partial["is_partial"]) == (4, True)


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({"root": "/elsewhere"}, True),
        ({"batch_size": 3, "skip_broken": True, "eval_batch_size": 7}, True),
        ({"seed": 1}, False),
        ({"downsample": 2}, False),
        ({"binarization": "fixed"}, False),
        ({"val_fraction": 0.2}, False),
    ],
)
def test_which_arguments_make_other_data(
    changed: dict[str, Any], same: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images", 40)
    record = json.loads(json.dumps(data_record(ImageFolderDataModule("images", size=8))))
    assert is_same(record, ImageFolderDataModule("images", size=8))
    record["data"]["init_args"] |= changed
    assert is_same(record, ImageFolderDataModule("images", size=8)) == same
    assert is_same({}, ImageFolderDataModule("images", size=8))


def test_generated_data_may_have_more_items() -> None:
    record = data_record(ToyDataModule(name="moons", num_test=50))
    assert is_same(record, ToyDataModule(name="moons", num_test=70))
    assert not is_same(record, ToyDataModule(name="rings", num_test=50))


def test_the_error_for_a_data_class_of_ones_own_names_its_option(fitted: Path, tmp_path: Path) -> None:
    checkpoint = torch.load(fitted, weights_only=True)
    checkpoint["lightning_flows"]["data"]["class_path"] = "own.Data"
    torch.save(checkpoint, tmp_path / "own.ckpt")
    with pytest.raises(CheckpointError, match=r"own\.Data, a class from outside .* add --data=own\.Data"):
        load_rows(str(tmp_path / "own.ckpt"), 10)
    with pytest.raises(CheckpointError, match=r"add --data=own\.Data"):
        load_rows(str(tmp_path / "own.ckpt"), 10, None, {"seed": 1})
