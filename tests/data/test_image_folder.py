"""ImageFolderDataModule: parts, halves, seeded fractions, the report, and errors."""

import logging
import shutil
import tarfile
from itertools import chain
from pathlib import Path

import pytest
import torch
from PIL import Image

from lightning_flows.data import ImageFolderDataModule
from lightning_flows.data.datasets import image_sources as image_sources
from lightning_flows.data.datasets.archives import open_tar
from lightning_flows.errors import DataError, ShapeError

JPEG_TAR = Path(__file__).parents[3] / "shared/data/cifar10-jpeg-10k.tar"


def save(root: Path, names: list[str], *, size: tuple[int, int] = (8, 8)) -> Path:
    """Write images; each shows its position in ``names``."""
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (i, i, i)).save(root / name)
    return root


def names(data: ImageFolderDataModule) -> dict[str, list[str]]:
    data.setup("fit")
    data.setup("test")
    return {part: data.dataset(part).names for part in ("train", "val", "test")}


def test_event_shape_is_known_before_setup_and_nothing_is_read(tmp_path):
    assert ImageFolderDataModule(str(tmp_path / "nowhere"), size=48, channels=1).event_shape == (1, 48, 48)


@pytest.mark.parametrize("packed", [False, True])
def test_own_parts_are_used(tmp_path, packed):
    files = ["test/cat/4.png", "train/cat/1.png", "train/dog/2.png", "val/dog/3.png"]
    root = save(tmp_path / "images", files)
    if packed:
        with tarfile.open(tmp_path / "images.tar", "w") as tar:
            tar.add(root, arcname="images")
        root = tmp_path / "images.tar"
    data = ImageFolderDataModule(str(root), size=8)
    prefix = "images/" if packed else ""
    assert names(data) == {
        "train": [prefix + files[1], prefix + files[2]],
        "val": [prefix + files[3]],
        "test": [prefix + files[0]],
    }
    assert data.dataset("train").labels.tolist() == [0, 1]
    assert data.dataset("val").labels.tolist() == [1]  # dog, as in training
    assert data.dataset("val").images.unique().tolist() == [3]


def test_test_is_halved_where_there_is_no_val(tmp_path):
    train, test = ([f"{part}/{i:02d}.png" for i in range(100)] for part in ("train", "test"))
    root = str(save(tmp_path, train + test))
    split = names(ImageFolderDataModule(root, size=8))
    assert split["train"] == train
    assert sorted(split["val"] + split["test"]) == test
    assert 35 <= len(split["val"]) <= 65
    assert names(ImageFolderDataModule(root, size=8)) == split
    assert names(ImageFolderDataModule(root, size=8, seed=1))["test"] != split["test"]


@pytest.mark.parametrize("layout", ["{:03d}.png", "cat/{:03d}.png"])
def test_seeded_fractions(tmp_path, layout):
    files = [layout.format(i) for i in range(250)]
    root = str(save(tmp_path, files))
    data = ImageFolderDataModule(root, size=8, val_fraction=0.1, test_fraction=0.2, augment=False)
    split = names(data)
    assert 12 <= len(split["val"]) <= 38  # 25 on average
    assert 30 <= len(split["test"]) <= 70  # 50
    assert sorted(chain.from_iterable(split.values())) == files  # disjoint and complete
    assert all(chosen == sorted(chosen) for chosen in split.values())
    for part, chosen in split.items():
        assert data.dataset(part).images[:, 0, 0, 0].tolist() == [files.index(name) for name in chosen]
    assert names(ImageFolderDataModule(root, size=8, val_fraction=0.1, test_fraction=0.2)) == split
    others = names(ImageFolderDataModule(root, size=8, val_fraction=0.1, test_fraction=0.2, seed=1))
    assert others["test"] != split["test"]
    assert others["val"] != split["val"]


def test_copies_between_splits_of_ones_own_are_told(tmp_path, caplog):
    root = save(tmp_path, ["train/a.png", "train/b.png", "val/c.png", "test/d.png"])
    shutil.copy(root / "train/b.png", root / "test/e.png")
    with caplog.at_level(logging.INFO):
        ImageFolderDataModule(str(root), size=8).setup("fit")
    assert "test: 1 of 2 images are in train as well, such as test/e.png as train/b.png" in caplog.text
    assert "val: 1 of" not in caplog.text


def test_broken_test_images_are_named_before_training(tmp_path):
    root = save(tmp_path, ["train/1.png", "val/2.png", "test/3.png"])
    for name in ("train/4.png", "test/5.png"):
        (root / name).write_bytes(b"")
    with pytest.raises(
        DataError, match=r"2 files cannot be used: .*test/5\.png .*, .*train/4\.png .*: remove or replace"
    ):
        ImageFolderDataModule(str(root), size=8).setup("fit")
    (root / "train/4.png").unlink()
    with pytest.raises(DataError, match=r"test/5\.png is no readable image"):
        ImageFolderDataModule(str(root), size=8).setup("fit")


@pytest.mark.parametrize("layout", ["{}.png", "train/{}.png"])
def test_an_archive_is_listed_once(tmp_path, layout, monkeypatch):
    root = save(tmp_path / "images", [layout.format(i) for i in range(60)])
    if layout.startswith("train"):
        save(root, [f"{part}/{i}.png" for part in ("val", "test") for i in range(3)])
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
        tar.add(root, arcname=".")
    opened = []
    monkeypatch.setattr(image_sources, "open_tar", lambda path: opened.append(path) or open_tar(path))
    data = ImageFolderDataModule(str(tmp_path / "x.tar.gz"), size=8)
    data.split_arguments()
    data.setup("fit")
    assert len(opened) == (3 if layout == "{}.png" else 2)  # listed, hashed, read; or listed, read


@pytest.mark.parametrize(
    ("files", "scored"),
    [
        (["0.png", "1.png", "2.png"], ["0.png", "1.png", "2.png"]),
        (["train/0.png", "test/1.png", "test/2.png"], ["test/1.png", "test/2.png"]),
        (["train/0.png", "val/1.png"], ["train/0.png", "val/1.png"]),
    ],
)
def test_predict_scores_the_test_folder_or_else_every_image(tmp_path, files, scored):
    data = ImageFolderDataModule(str(save(tmp_path, files)), size=8)
    data.setup("predict")
    assert data.predict_names() == scored


def test_fractions_that_round_up_never_overlap(tmp_path):
    data = ImageFolderDataModule(
        str(save(tmp_path, ["1.png", "2.png", "3.png"])), size=8, val_fraction=0.5, test_fraction=0.5
    )
    data.setup("test")
    data.setup("validate")
    assert sorted(data.dataset("test").names + data.dataset("val").names) == ["1.png", "2.png", "3.png"]


def test_resizing_is_told_once(tmp_path, caplog):
    root = save(tmp_path, ["train/1.png", "train/2.png", "val/3.png"], size=(20, 10))
    data = ImageFolderDataModule(str(root), size=8)
    with caplog.at_level(logging.INFO):
        data.setup("fit")
        data.setup("fit")
    told = [record.getMessage() for record in caplog.records if "read" in record.getMessage()]
    resized = "resized, {0} cropped to 8x8 (widths 20 to 20, heights 10 to 10)"
    assert told == [
        f"train: {root}: read 2 images, 2 {resized.format(2)}",
        f"val: {root}: read 1 images, 1 {resized.format(1)}",
    ]


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"size": 0}, ShapeError, "expected a size from 1 to 65,535 pixels; got 0"),
        ({"channels": 4}, ShapeError, "got 4"),
        ({"val_fraction": -0.1}, DataError, "got -0.1 and 0.1"),
        ({"val_fraction": 0.6, "test_fraction": 0.5}, DataError, "got 0.6 and 0.5"),
        ({"val_fraction": float("nan")}, DataError, "got nan and 0.1"),
        ({"test_fraction": float("nan")}, DataError, "got 0.1 and nan"),
    ],
)
def test_bad_arguments(kwargs, error, message):
    with pytest.raises(error, match=message):
        ImageFolderDataModule(**kwargs)


@pytest.mark.parametrize(
    ("files", "kwargs", "stage", "message"),
    [
        (
            ["1.png", "2.png"],
            {"val_fraction": 0, "test_fraction": 0},
            "fit",
            r"gives no images to val \(images found: 2\): add a val/ folder, or more",
        ),
        (["1.png"], {"test_fraction": 1, "val_fraction": 0}, "fit", "gives no images to train"),
        (["train/1.png"], {}, "test", r"gives no images to test \(images found: 1 in train/\)"),
    ],
)
def test_empty_parts(tmp_path, files, kwargs, stage, message):
    with pytest.raises(DataError, match=message):
        ImageFolderDataModule(str(save(tmp_path, files)), size=8, **kwargs).setup(stage)


def test_one_test_image_cannot_be_halved(tmp_path):
    root = str(save(tmp_path, ["train/1.png", "test/1.png"]))
    tested = [
        bool(ImageFolderDataModule(root, seed=seed).split({"train": [], "test": ["test/1.png"]})["test"])
        for seed in range(20)
    ]
    with pytest.raises(
        DataError, match=r"to val \(images found: 1 in train/, 1 in test/\): add a val/ folder, or more"
    ):
        ImageFolderDataModule(root, size=8, seed=tested.index(True)).setup("fit")
    with pytest.raises(DataError, match="to test"):
        ImageFolderDataModule(root, size=8, seed=tested.index(False)).setup("test")


def test_broken_files_come_before_an_empty_part(tmp_path):
    save(tmp_path, ["1.png", "2.png"])
    (tmp_path / "2.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"2\.png is no readable image"):
        ImageFolderDataModule(str(tmp_path), size=8, val_fraction=0).setup("fit")


def test_missing_empty_and_broken(tmp_path):
    with pytest.raises(DataError, match="nowhere does not exist"):
        ImageFolderDataModule(str(tmp_path / "nowhere")).setup("fit")
    with pytest.raises(DataError, match="holds no images"):
        ImageFolderDataModule(str(tmp_path)).setup("fit")
    save(tmp_path, ["train/1.png", "val/1.png"])
    (tmp_path / "val/1.png").write_text("text")
    with pytest.raises(DataError, match=r"val/1\.png is no readable image"):
        ImageFolderDataModule(str(tmp_path)).setup("fit")


@pytest.mark.skipif(not JPEG_TAR.exists(), reason=f"needs the shared data: {JPEG_TAR.name}")
def test_real_tar_of_jpeg_files():
    data = ImageFolderDataModule(str(JPEG_TAR), batch_size=100)
    data.setup("test")
    batches = list(data.test_dataloader())
    assert all(batch["image"].shape == torch.Size([100, 3, 32, 32]) for batch in batches[:9])
    assert len(set(data.dataset("test").names)) == sum(len(batch["index"]) for batch in batches) == 998
