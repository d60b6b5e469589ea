"""Splits of ImageFolderDataModule depend only on the image, the seed and the fractions."""

import re
import shutil
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from lightning_flows.data import ImageFolderDataModule
from lightning_flows.data.datasets import ImageFiles
from lightning_flows.errors import DataError
from tests.data.test_image_folder import names, save


def split_by_content(root: Path, **kwargs) -> dict[int, str]:
    """The split of each image, by the number that it shows."""
    data = ImageFolderDataModule(str(root), size=8, augment=False, **kwargs)
    found = {}
    for stage, splits in {"fit": ("train", "val"), "test": ("test",)}.items():
        data.setup(stage)
        for split in splits:
            found |= dict.fromkeys(data.dataset(split).images[:, 0, 0, 0].tolist(), split)
    return found


@pytest.mark.parametrize("folder", ["", "test"])
@pytest.mark.parametrize("change", ["add", "remove", "rename", "wrap", "pack", "compress", "zip", "classes", "copy"])
def test_changes_do_not_move_other_images(tmp_path, folder, change):
    root = tmp_path / "images"
    save(root, [f"{folder}/{i:03d}.png".lstrip("/") for i in range(100)])
    if folder:
        Image.new("RGB", (8, 8), (200, 0, 0)).save(make(root / "train") / "1.png")
    split = split_by_content(root)
    images, gone = root / folder, set()
    if change == "add":
        Image.new("RGB", (8, 8), (150, 150, 150)).save(images / "000a.png")
        gone = {150}
    elif change == "remove":
        for name in ("000.png", "050.png"):
            (images / name).unlink()
    elif change == "rename":
        for i, path in enumerate(sorted(images.glob("*.png"))):
            path.rename(images / f"{(7 * i) % 100:03d}.jpg")
    elif change == "copy":
        for i in range(30):
            shutil.copy(images / f"{i:03d}.png", images / f"{i:03d} (copy).png")
    elif change == "classes":
        for path in sorted(images.glob("*.png")):
            path.rename(make(images / "ab"[int(path.stem) % 2]) / path.name)
    elif change == "wrap":
        root.rename(make(tmp_path / "outer") / "inner")
        root = tmp_path / "outer"
    elif change == "zip":
        root = Path(shutil.make_archive(str(tmp_path / "x"), "zip", tmp_path, "images"))
    else:
        with tarfile.open(tmp_path / "x.tar", "w:gz" if change == "compress" else "w") as tar:
            tar.add(root, arcname="some/where")
        root = tmp_path / "x.tar"
    changed = split_by_content(root)
    assert {i: found for i, found in changed.items() if i not in gone} == {
        i: split[i] for i in changed if i not in gone
    }
    assert len(changed) == 100 + bool(folder) + len(gone) - 2 * (change == "remove")


def make(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_larger_fractions_keep_their_images(tmp_path):
    save(tmp_path, [f"{i:03d}.png" for i in range(150)])
    small, more_test, more_val = (
        split_by_content(tmp_path, val_fraction=val, test_fraction=test)
        for val, test in ((0.2, 0.2), (0.2, 0.4), (0.4, 0.2))
    )
    assert {i for i in small if more_test[i] != small[i]} == {i for i in small if more_test[i] == "test"} - {
        i for i in small if small[i] == "test"
    }
    assert {i for i in small if more_val[i] != small[i]} == {i for i in small if more_val[i] == "val"} - {
        i for i in small if small[i] == "val"
    }


def test_copies_of_an_image_are_in_one_split(tmp_path):
    for i in range(40):
        save(tmp_path / f"{i}", ["1.png", "2.png", "3.png"])
    data = ImageFolderDataModule(str(tmp_path), size=8, val_fraction=0.3, test_fraction=0.3, seed=1)
    split = {part: data.names(part) for part in ("train", "val", "test")}
    assert sorted(len(split[part]) for part in ("train", "val", "test")) == [40, 40, 40] or 0 in map(
        len, split.values()
    )
    for k in (1, 2, 3):
        assert len({part for part in ("train", "val", "test") if f"0/{k}.png" in split[part]}) == 1
        assert all(f"{i}/{k}.png" in split[part] for part in split for i in range(40) if f"0/{k}.png" in split[part])


def test_copies_in_two_splits_are_reported(tmp_path, recwarn):
    """Folders define the splits, so that copies remain in both."""
    for split, colors in {"train": range(4), "val": range(3, 8), "test": range(6, 12)}.items():
        for color in colors:
            Image.new("RGB", (8, 8), (color, 0, 0)).save(make(tmp_path / split) / f"{color}.png")
    ImageFolderDataModule(str(tmp_path), size=8).setup("fit")
    assert [str(each.message).partition(" too low")[0] for each in recwarn] == [
        "1 of 5 val images are also in train, such as val/3.png as train/3.png: val/bpd will be",
        "2 of 6 test images are also in val, such as test/6.png as val/6.png: test/bpd may be",
    ]


def test_digests_are_those_of_the_items(tmp_path):
    """Broken files, which are skipped, have none, though they have a split."""
    for i in range(30):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / f"{i:02d}.png")
        if i % 3 == 0:
            (tmp_path / f"{i:02d}.png").write_bytes((tmp_path / f"{i:02d}.png").read_bytes()[:-20])
    data = ImageFolderDataModule(str(tmp_path), size=8, skip_broken=True, val_fraction=0.3)
    data.setup("fit")
    for split in ("train", "val"):
        paths = [tmp_path / name for name in data.dataset(split).names]
        expected = ImageFiles(tmp_path).digests([path.name for path in paths]).values()
        assert data.digests(split) == list(expected)
        assert len(paths) == data.num_items(split)


@pytest.mark.parametrize("fractions", [(0, 0.3), (0.3, 0), (0.6, 0.4), (0.4, 0.6), (0, 0)])
def test_fractions_at_their_limits(tmp_path, fractions):
    val, test = fractions
    data = ImageFolderDataModule(
        str(save(tmp_path, [f"{i}.png" for i in range(100)])), size=8, val_fraction=val, test_fraction=test
    )
    split = {part: data.names(part) for part in ("train", "val", "test")}
    assert (len(split["val"]) == 0, len(split["test"]) == 0) == (val == 0, test == 0)
    assert (len(split["train"]) == 0) == (val + test == 1)
    assert len(split["train"]) + len(split["val"]) + len(split["test"]) == 100


def test_a_seed_without_empty_splits_is_suggested(tmp_path):
    files = [f"{i}.png" for i in range(8)]
    root = str(save(tmp_path, files))
    seed = next(seed for seed in range(20) if not ImageFolderDataModule(root, seed=seed).names("val"))
    with pytest.raises(DataError, match=r"or use --data\.seed=\d+, for which no split is empty") as caught:
        ImageFolderDataModule(root, size=8, seed=seed).setup("fit")
    assert names(ImageFolderDataModule(root, size=8, seed=int(re.findall(r"seed=(\d+)", str(caught.value))[0])))
    with pytest.raises(DataError, match=r"change --data.val_fraction and --data.test_fraction$"):
        ImageFolderDataModule(root, size=8, val_fraction=0).setup("fit")
    same = save(tmp_path / "same", ["1.png"])
    for i in range(20):
        shutil.copy(same / "1.png", same / f"copy {i}.png")
    with pytest.raises(DataError, match=r"change --data.val_fraction and --data.test_fraction$"):
        ImageFolderDataModule(str(same), size=8).setup("fit")


@pytest.mark.parametrize(
    ("files", "arguments"),
    [
        (["1.png"], ("seed", "val_fraction", "test_fraction")),
        (["train/1.png", "test/1.png"], ("seed",)),
        (["train/1.png", "val/1.png"], ()),
        (["train/1.png", "val/1.png", "test/1.png"], ()),
    ],
)
def test_arguments_that_determine_the_splits(tmp_path, files, arguments):
    assert ImageFolderDataModule(str(save(tmp_path, files))).split_arguments() == arguments
