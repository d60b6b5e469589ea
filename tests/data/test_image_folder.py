"""ImageFolderDataModule: splits, halves, seeded fractions, the report, and errors."""

import gzip
import logging
import shutil
import tarfile
from itertools import chain
from pathlib import Path

import pytest
import torch
from PIL import Image

from lightning_flows.data import ImageFolderDataModule
from lightning_flows.data.datasets import archives
from lightning_flows.data.datasets.image_files import open_source
from lightning_flows.errors import DataError, UsageError

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
    return {split: data.dataset(split).names for split in ("train", "val", "test")}


def test_event_shape_is_known_before_setup_and_nothing_is_read(tmp_path):
    root = str(tmp_path / "nowhere")
    assert ImageFolderDataModule(root, size=48, channels=1).event_shape == (1, 48, 48)
    assert ImageFolderDataModule(root, size=(32, 48)).event_shape == (3, 32, 48)
    assert ImageFolderDataModule(root, size=[32, 48]).event_shape == (3, 32, 48)  # as checkpoints record it


@pytest.mark.parametrize("packed", [False, True])
def test_folders_of_splits_are_used(tmp_path, packed):
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


def test_test_is_halved_if_there_is_no_val(tmp_path):
    train, test = ([f"{split}/{i:02d}.png" for i in range(100)] for split in ("train", "test"))
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


def test_copies_between_folders_of_splits_are_reported(tmp_path):
    root = save(tmp_path, ["train/a.png", "train/b.png", "val/c.png", "test/d.png"])
    shutil.copy(root / "train/b.png", root / "test/e.png")
    with pytest.warns(UserWarning, match=r"1 of 2 test images .*, such as test/e\.png as train/b\.png") as caught:
        ImageFolderDataModule(str(root), size=8).setup("fit")
    assert len(caught) == 1


def test_broken_test_images_are_named_before_training(tmp_path):
    root = save(tmp_path, ["train/1.png", "val/2.png", "test/3.png"])
    for name in ("train/4.png", "test/5.png"):
        (root / name).write_bytes(b"")
    with pytest.raises(
        DataError, match=r"2 files cannot be used: .*test/5\.png .*, .*train/4\.png .*: remove or replace"
    ):
        ImageFolderDataModule(str(root), size=8).setup("fit")
    (root / "train/4.png").unlink()
    with pytest.raises(DataError, match=r"test/5\.png is not a readable image"):
        ImageFolderDataModule(str(root), size=8).setup("fit")


def test_files_that_cannot_be_read_or_decoded_are_named_together_for_any_layout(tmp_path):
    root = save(tmp_path, [f"{i}.png" for i in range(30)])
    (root / "7.png").write_bytes(b"")
    (root / "dangling.png").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"2 files cannot be used: .*7\.png .*, .*dangling\.png .*: remove or replace"):
        ImageFolderDataModule(str(root), size=8).setup("fit")
    with pytest.raises(DataError, match=r"2 files cannot be used: .*7\.png .*, .*dangling\.png .*: remove or replace"):
        ImageFolderDataModule(str(root), size=8).setup("predict")


@pytest.mark.parametrize("layout", ["{}.png", "train/{}.png"])
def test_broken_images_can_be_skipped(tmp_path, layout):
    files = [layout.format(f"{i:02d}") for i in range(60)]
    files += [f"{split}/{i}.png" for split in ("val", "test") for i in range(5)] if layout.startswith("train") else []
    root = save(tmp_path, files)
    before = names(ImageFolderDataModule(str(root), size=8))
    broken = [found[1] for found in before.values()]
    for name in broken:
        (root / name).write_bytes(b"no image")
    changed = ImageFolderDataModule(str(root), size=8, skip_broken=True)
    with pytest.warns(UserWarning, match="skipped: 3 files cannot be used") as caught:
        changed.setup("fit")
    assert len(caught) == 1
    assert all(str(root / name) in str(caught[0].message) for name in broken)
    after = names(changed)
    assert after == {split: [name for name in found if name not in broken] for split, found in before.items()}
    assert len(changed.dataset("train").images) == len(after["train"])


@pytest.mark.parametrize("layout", ["{}.png", "train/{}.png"])
def test_an_archive_is_listed_once(tmp_path, layout, monkeypatch):
    root = save(tmp_path / "images", [layout.format(i) for i in range(60)])
    if layout.startswith("train"):
        save(root, [f"{split}/{i}.png" for split in ("val", "test") for i in range(3)])
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
        tar.add(root, arcname=".")
    opened, open_gzip = [], gzip.open
    monkeypatch.setitem(archives._COMPRESSIONS, b"\x1f\x8b", lambda file: opened.append(file) or open_gzip(file))
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


def test_resizing_is_reported_once(tmp_path, caplog):
    root = save(tmp_path, ["train/1.png", "train/2.png", "val/3.png"], size=(20, 10))
    data = ImageFolderDataModule(str(root), size=8)
    with caplog.at_level(logging.INFO):
        data.setup("fit")
        data.setup("fit")
    messages = [record.getMessage() for record in caplog.records if "read" in record.getMessage()]
    sizes = "of width 20 and height 10"
    assert messages == [
        f"train: {root}: read 2 images {sizes}; 2 cropped, 2 resized to 8x8",
        f"val: {root}: read 1 image {sizes}; 1 cropped, 1 resized to 8x8",
    ]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"size": 0}, "expected size from 1 to 65,535 pixels, or a list of height and width; got 0"),
        ({"channels": 4}, "got 4"),
        ({"val_fraction": -0.1}, "got -0.1 and 0.1"),
        ({"val_fraction": 0.6, "test_fraction": 0.5}, "got 0.6 and 0.5"),
        ({"val_fraction": float("nan")}, "got nan and 0.1"),
        ({"test_fraction": float("nan")}, "got 0.1 and nan"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(UsageError, match=message):
        ImageFolderDataModule(**kwargs)


@pytest.mark.parametrize(
    ("files", "kwargs", "stage", "message"),
    [
        (
            ["1.png", "2.png"],
            {"val_fraction": 0, "test_fraction": 0},
            "fit",
            r"has no images for val \(images found: 2\): add a val/ folder, or more",
        ),
        (["1.png"], {"test_fraction": 1, "val_fraction": 0}, "fit", "has no images for train"),
        (["train/1.png"], {}, "test", r"has no images for test \(images found: 1 in train/\)"),
    ],
)
def test_empty_splits(tmp_path, files, kwargs, stage, message):
    with pytest.raises(DataError, match=message):
        ImageFolderDataModule(str(save(tmp_path, files)), size=8, **kwargs).setup(stage)


def test_one_test_image_cannot_be_halved(tmp_path):
    root = str(save(tmp_path, ["train/1.png", "test/1.png"]))
    tested = [bool(ImageFolderDataModule(root, seed=seed).names("test")) for seed in range(20)]
    with pytest.raises(
        DataError, match=r"for val \(images found: 1 in train/, 1 in test/\): add a val/ folder, or more"
    ):
        ImageFolderDataModule(root, size=8, seed=tested.index(True)).setup("fit")
    with pytest.raises(DataError, match="for test"):
        ImageFolderDataModule(root, size=8, seed=tested.index(False)).setup("test")


def test_broken_files_are_reported_before_an_empty_split(tmp_path):
    save(tmp_path, ["1.png", "2.png"])
    (tmp_path / "2.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"2\.png is not a readable image"):
        ImageFolderDataModule(str(tmp_path), size=8, val_fraction=0).setup("fit")


def test_missing_empty_and_broken(tmp_path):
    with pytest.raises(DataError, match="nowhere does not exist"):
        ImageFolderDataModule(str(tmp_path / "nowhere")).setup("fit")
    with pytest.raises(DataError, match="contains no images"):
        ImageFolderDataModule(str(tmp_path)).setup("fit")
    save(tmp_path, ["train/1.png", "val/1.png"])
    (tmp_path / "val/1.png").write_text("text")
    with pytest.raises(DataError, match=r"val/1\.png is not a readable image"):
        ImageFolderDataModule(str(tmp_path)).setup("fit")


@pytest.mark.skipif(not JPEG_TAR.exists(), reason=f"needs the shared data: {JPEG_TAR.name}")
def test_real_tar_of_jpeg_files():
    data = ImageFolderDataModule(str(JPEG_TAR), batch_size=100)
    data.setup("test")
    batches = list(data.test_dataloader())
    assert all(batch["image"].shape == torch.Size([100, 3, 32, 32]) for batch in batches[:9])
    assert len(set(data.dataset("test").names)) == sum(len(batch["index"]) for batch in batches) == 998


def test_a_single_image_is_not_a_source(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.jpg")
    with pytest.raises(
        DataError, match=r"photo\.jpg is a single image: expected a folder, .* the folder that contains it"
    ):
        open_source(tmp_path / "photo.jpg")
