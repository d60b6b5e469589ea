"""Options of the data of a command without a trainer."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from lightning_flows.app.cli import main
from lightning_flows.app.commands.data_options import built, taken_from
from lightning_flows.checkpoints import describe
from lightning_flows.data import ImageFolderDataModule
from lightning_flows.errors import ConfigError, UsageError


def save(folder: Path, num: int) -> Path:
    """Write photographs whose contents differ."""
    folder.mkdir(parents=True)
    for i in range(num):
        Image.new("RGB", (32, 32), (i, 0, 0)).save(folder / f"{i}.png")
    return folder


def figure(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """Standard error of ``figure``, empty on success."""
    capsys.readouterr()
    try:
        main(["figure", *args, "--dpi=40", "--num=2", "--overwrite"])
    except SystemExit:
        return capsys.readouterr().err
    return ""


@pytest.fixture(scope="module")
def of_folder(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint that was trained on a folder."""
    folder = tmp_path_factory.mktemp("of_folder")
    checkpoint = torch.load(trained, weights_only=True)
    data = ImageFolderDataModule(str(save(folder / "photos", 40)), val_fraction=0.2, test_fraction=0.2)
    checkpoint["lightning_flows"]["data"] = describe(data)
    torch.save(checkpoint, folder / "model.ckpt")
    return folder / "model.ckpt"


def test_options_without_equals_sign_and_empty_values() -> None:
    args = ["nearest", "--data.root", "a", "--data.root=", "--data.init_args.seed=1", "--data", "mine.Data"]
    assert taken_from(args) == (["nearest", "--data", "mine.Data"], {"root": None, "seed": 1})


def test_options_override_recorded_arguments(tmp_path: Path) -> None:
    folder = str(save(tmp_path / "photos", 9))
    data = built(ImageFolderDataModule, {"root": folder, "size": 16}, {"size": [8, 8], "skip_broken": True})
    assert data.event_shape == (3, 8, 8)
    assert data.hparams["skip_broken"] is True
    with pytest.raises(ConfigError, match=r"--data.sed is not an option of ImageFolderDataModule: `fit --data.help "):
        built(ImageFolderDataModule, {}, {"sed": 3})
    with pytest.raises(UsageError, match=r"^--data.seed x does not fit ImageFolderDataModule \(expected int\): choose"):
        built(ImageFolderDataModule, {"root": folder}, {"seed": "x", "size": 8})
    with pytest.raises(UsageError, match=r"would be split .* in training \(--data.seed is 1 instead of 0\): omit that"):
        built(ImageFolderDataModule, {"root": folder, "seed": 0}, {"seed": 1})


def test_training_images_suffice_for_nearest(
    of_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "own/train", 3)
    options = [f"--ckpt_path={of_folder}", f"--out={tmp_path}/a.png"]
    assert not figure(capsys, "nearest", *options, f"--images={tmp_path}/own")
    assert "has no images for test (images found: 3 in train/): add" in figure(
        capsys, "interpolation", *options, f"--images={tmp_path}/own"
    )


def test_what_a_message_advises_works(of_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [f"--ckpt_path={of_folder}", f"--out={tmp_path}/a.png"]
    images = f"--images={save(tmp_path / 'few', 4)}"
    seed = re.search(r"or use (--data.seed=\d+)", figure(capsys, "outliers", *options, images))
    assert seed is not None
    assert not figure(capsys, "outliers", *options, images, seed[1])
    broken = save(tmp_path / "broken/train", 3).parent
    (broken / "train/bad.png").write_bytes(b"no image")
    message = figure(capsys, "nearest", *options, f"--images={broken}")
    assert message.endswith("remove or replace it, or add --data.skip_broken=true\n")
    assert not figure(capsys, "nearest", *options, f"--images={broken}", "--data.skip_broken=true")
    moved = shutil.move(of_folder.with_name("photos"), tmp_path / "moved")
    try:
        assert "photos does not exist: expected a folder, a .tar or a .zip of images, as in --data.root" in figure(
            capsys, "nearest", *options
        )
        assert not figure(capsys, "nearest", *options, f"--data.root={moved}")
        assert not figure(capsys, "nearest", *options, "--data=ImageFolderDataModule", f"--data.root={moved}")
        assert "--data.seed is 9 instead of 0" in figure(
            capsys, "nearest", *options, f"--data.root={moved}", "--data.seed=9"
        )
    finally:
        shutil.move(moved, of_folder.with_name("photos"))


def test_broken_outliers_are_skipped(
    of_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    (save(tmp_path / "others", 3) / "bad.png").write_bytes(b"no image")
    options = [f"--ckpt_path={of_folder}", f"--out={tmp_path}/a.png", f"--outliers={tmp_path}/others"]
    assert not figure(capsys, "outliers", *options)
    assert [each for each in recwarn if "bad.png is not a readable image" in str(each.message)]


def test_the_tip_of_a_command_without_options_of_data(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["table", "1", "--data.seed=5"])
    assert exit_info.value.code == 2
    assert capsys.readouterr().err.endswith("tip: `python -m lightning_flows table --help` lists the options\n")
