"""Frey Faces: the published split of a file in each format, and errors of one line."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.io
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
    with pytest.raises(
        DataError, match=r"nowhere\.npz does not exist: set --data\.path to frey_rawface\.mat .*uint8\)$"
    ):
        loaded(tmp_path / "nowhere.npz")


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        loaded(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    assert "set --data.path to" in message
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
        ({"images": np.full((1965, 28, 20), 300)}, "has values that are"),
        ({"images": np.zeros((1965, 28, 20), object)}, "has images of object, not of numbers"),
    ],
)
def test_another_file(tmp_path, arrays, fact):
    np.savez(tmp_path / "other.npz", **arrays)
    assert fact in refused(tmp_path / "other.npz")


def formats(faces: np.ndarray, folder: Path) -> dict[str, Path]:
    """Write the faces as each published file has them."""
    vectors = faces.reshape(1965, 560)
    np.savez(folder / "a.npz", images=faces)
    scipy.io.savemat(folder / "b.mat", {"ff": vectors.T, "x": 3})
    (folder / "c.pkl").write_bytes(pickle.dumps([vectors / 255], protocol=2))
    (folder / "d.pkl").write_bytes(pickle.dumps(vectors.astype(np.float32)))
    np.savez(folder / "e.npz", images=faces / np.float32(255))
    return {path.name: path for path in folder.iterdir()}


def test_all_formats_give_the_same_faces(faces, tmp_path):
    for path in formats(faces, tmp_path).values():
        assert torch.equal(loaded(path).dataset("val").images, shuffled(faces)[1565:1765]), path


def test_a_pickle_is_not_executed(tmp_path):
    class Harmful:
        def __reduce__(self):
            return Path.touch, (tmp_path / "harm",)

    (tmp_path / "freyfaces.pkl").write_bytes(pickle.dumps(Harmful()))
    assert "is refused, because its pickle names pathlib.Path" in refused(tmp_path / "freyfaces.pkl").replace(
        "Posix", ""
    )
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("name", "content", "fact"),
    [
        ("a.pkl", b"", "is damaged, or not the pickle of one array"),
        ("a.pkl", b"x" * (2**26 + 1), "is larger than 64 MiB"),
        ("a.mat", b"x" * 100, "cannot be read ("),
        ("a.mat", b"", "cannot be read ("),
        ("a.txt", b"x", "is not an .npz, .mat or .pkl file"),
    ],
)
def test_other_content(tmp_path, name, content, fact):
    (tmp_path / name).write_bytes(content)
    assert fact in refused(tmp_path / name)


@pytest.mark.parametrize(
    ("arrays", "fact"),
    [
        ({"gg": np.zeros(3)}, "has no array 'ff', but gg"),
        ({"ff": np.zeros((1965, 560))}, "has ff of shape 1965 x 560, not 560 x 1965"),
        ({"ff": np.full((560, 1965), np.nan)}, "has values that are neither"),
        ({"ff": np.full((560, 1965), -1.0)}, "has values that are neither"),
        ({"ff": np.full((2, 3), "x", object)}, "has ff of class cell, not of numbers"),
    ],
)
def test_another_matlab_file(tmp_path, arrays, fact):
    scipy.io.savemat(tmp_path / "a.mat", arrays)
    assert fact in refused(tmp_path / "a.mat")
