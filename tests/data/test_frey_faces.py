"""Frey Faces: the published split of a file in each format, and errors of one line."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_flows.data import FreyFacesDataModule
from lightning_flows.errors import DataError

NUM = {"train": 1565, "val": 200, "test": 200}


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (1965, 28, 20), dtype=np.uint8)


def shuffled(faces: np.ndarray) -> torch.Tensor:
    """Return the faces in the order of the published code, which shuffles vectors after seeding NumPy."""
    vectors = faces.reshape(1965, 560).copy()
    np.random.RandomState(123).shuffle(vectors)
    return torch.from_numpy(vectors.reshape(1965, 1, 28, 20))


def loaded(path: Path, **options) -> FreyFacesDataModule:
    data = FreyFacesDataModule(str(path), **options)
    data.setup("fit")
    data.setup("test")
    return data


def test_published_splits(faces, tmp_path):
    np.savez_compressed(tmp_path / "freyfaces.npz", images=faces)
    data, start = loaded(tmp_path / "freyfaces.npz", batch_size=100), 0
    assert data.event_shape == (1, 28, 20)
    assert data.num_levels == 256
    for split, num in NUM.items():
        images = data.dataset(split).images
        assert torch.equal(images, shuffled(faces)[start : start + num])
        assert images.is_contiguous()
        names = [int(name) for name in data.dataset(split).names]
        assert torch.equal(images, torch.from_numpy(faces[names][:, None]))
        start += num
    assert data.dataset("train").transform is None
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].dtype == torch.uint8
    assert batch["image"].shape == (100, 1, 28, 20)


def test_missing(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.npz does not exist: put freyfaces\.npz there .*set data\.path$"):
        loaded(tmp_path / "nowhere.npz")


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        loaded(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    assert "put freyfaces.npz there" in message
    return message


@pytest.mark.parametrize("keep", [0, 10, 1000, -1])
def test_damaged(faces, tmp_path, keep):
    path = tmp_path / "freyfaces.npz"
    np.savez(path, images=faces)
    path.write_bytes(path.read_bytes()[:keep])
    assert "cannot be read (" in refused(path)


@pytest.mark.parametrize(
    ("arrays", "fact"),
    [
        ({"pictures": np.zeros(3)}, "has no array 'images', but pictures"),
        ({"images": np.zeros((1965, 20, 28), np.uint8)}, "has images of shape 1965 x 20 x 28, not 1965 x 28 x 20"),
        ({"images": np.zeros((1965, 28, 20), np.int16)}, "has images of int16, not of uint8"),
        ({"images": np.zeros((1965, 28, 20), object)}, "has images of object, not of numbers"),
    ],
)
def test_another_file(tmp_path, arrays, fact):
    np.savez(tmp_path / "other.npz", **arrays)
    assert fact in refused(tmp_path / "other.npz")
