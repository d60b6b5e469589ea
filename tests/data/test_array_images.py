"""Images in an array: layouts, labels, splits, and errors of one line."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_flows.data import ArrayImageDataModule
from lightning_flows.errors import DataError, UsageError

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 6, 5), dtype=np.uint8)
COLOR = np.random.default_rng(1).integers(0, 256, (20, 6, 5, 3), dtype=np.uint8)
LABELS = np.arange(20)


def loaded(path: Path, **options) -> ArrayImageDataModule:
    data = ArrayImageDataModule(str(path), **options)
    data.setup("fit")
    data.setup("test")
    return data


@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize("name", ["a.npy", "a.npz", "labeled.npz"])
def test_files(tmp_path, color, name):
    images = COLOR if color else IMAGES
    if name == "a.npy":
        np.save(tmp_path / name, images)
    else:
        np.savez(tmp_path / name, images=images, **({"labels": LABELS} if name == "labeled.npz" else {}))
    data = loaded(tmp_path / name, val_fraction=0.2, test_fraction=0.25)
    assert data.event_shape == (3 if color else 1, 6, 5)
    assert data.num_levels == 256
    seen = []
    for split, num in {"train": 11, "val": 4, "test": 5}.items():
        dataset, numbers = data.dataset(split), [int(n) for n in data.dataset(split).names]
        assert len(dataset) == num
        expected = images[numbers].reshape(num, 6, 5, -1).transpose(0, 3, 1, 2)
        assert torch.equal(dataset.images, torch.from_numpy(expected.copy()))
        assert dataset.labels.tolist() == (numbers if name == "labeled.npz" else [0] * num)
        seen += numbers
    assert sorted(seen) == list(range(20))
    assert data.split_arguments() == ("seed", "val_fraction", "test_fraction")


def test_the_split_depends_on_the_seed_alone(tmp_path):
    np.save(tmp_path / "a.npy", IMAGES)
    first, same, other = (loaded(tmp_path / "a.npy", seed=seed).dataset("train").names for seed in (0, 0, 1))
    assert first == same
    assert first != other


def test_levels(tmp_path):
    np.save(tmp_path / "a.npy", IMAGES // 64)
    data = loaded(tmp_path / "a.npy", levels=4)
    assert data.num_levels == 4
    assert loaded(tmp_path / "a.npy", levels=4, binarization="threshold").dataset("train").images.max() == 1
    with pytest.raises(DataError, match=r"a\.npy has images with the level 3, of 0 to 1: set --data\.path to"):
        loaded(tmp_path / "a.npy", levels=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": 1}, "expected levels from 2 to 256; got 1"),
        ({"levels": 257}, "expected levels from 2 to 256; got 257"),
        ({"val_fraction": 0.7, "test_fraction": 0.4}, "at most 1 together; got 0.7 and 0.4"),
        ({"val_fraction": -0.1}, "got -0.1 and 0.1"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(UsageError, match=message):
        ArrayImageDataModule("a.npy", **options)


@pytest.mark.parametrize(
    ("arrays", "fact"),
    [
        (None, "does not exist"),
        ({"pictures": IMAGES}, "has no array 'images', but pictures"),
        ({"images": IMAGES[0]}, "has images of shape 6 x 5, not N x H x W or N x H x W x C"),
        ({"images": IMAGES[:0]}, "has images of shape 0 x 6 x 5, not N"),
        ({"images": IMAGES / 255}, "has images of float64, not of uint8"),
        ({"images": IMAGES, "labels": LABELS[:3]}, "has labels of shape 3, not 20"),
    ],
)
def test_errors(tmp_path, arrays, fact):
    path = tmp_path / "a.npz"
    if arrays is not None:
        np.savez(path, **arrays)
    with pytest.raises(DataError, match=rf"^{path} {fact}.*: set --data\.path to an \.npy of images"):
        loaded(path)


def test_too_few_images(tmp_path):
    np.save(tmp_path / "a.npy", IMAGES[:1])
    with pytest.raises(DataError, match="ArrayImageDataModule has no items in its val split"):
        loaded(tmp_path / "a.npy")


@pytest.mark.parametrize("num", [1, 3, 7])
def test_splits_do_not_overlap_if_both_fractions_round_up(num: int, tmp_path: Path) -> None:
    path = tmp_path / "images.npy"
    np.save(path, np.arange(num, dtype=np.uint8)[:, None, None] * np.ones((1, 8, 8), dtype=np.uint8))
    data = ArrayImageDataModule(str(path), val_fraction=0.5, test_fraction=0.5)
    names = [name for split in ("train", "val", "test") for name in data.load_split(split).names]
    assert sorted(names) == [str(i) for i in range(num)]


def test_labels_that_are_not_integers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "images.npz"
    np.savez(path, images=np.zeros((10, 8, 8), dtype=np.uint8), labels=np.full(10, 0.9))
    with pytest.raises(DataError, match="has labels of float64, not integers"):
        ArrayImageDataModule(str(path)).load_split("train")
