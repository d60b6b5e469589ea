"""Omniglot: orientation, split and binarization of the MATLAB file, and errors of one line."""

from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch

from lightning_flows.data import OmniglotDataModule, omniglot
from lightning_flows.errors import DataError


@pytest.fixture
def path(tmp_path, monkeypatch) -> Path:
    """Write 20 + 5 training images and 4 test images; in image i, row 3 has the value i/255, column 9 is 1."""
    for name, num in {"NUM_TRAIN": 20, "NUM_VAL": 5, "NUM_TEST": 4}.items():
        monkeypatch.setattr(omniglot, name, num)
    images = np.zeros((29, 28, 28))
    images[:, 3] = np.arange(29)[:, None] / 255
    images[:, :, 9] = 1.0
    columns = images.swapaxes(1, 2).reshape(29, 784).T  # MATLAB stores column by column
    scipy.io.savemat(tmp_path / "chardata.mat", {"data": columns[:, :25], "testdata": columns[:, 25:], "target": 3})
    return tmp_path / "chardata.mat"


def test_sizes_of_published_splits():
    assert (omniglot.NUM_TRAIN, omniglot.NUM_VAL, omniglot.NUM_TEST) == (24_345 - 1345, 1345, 8070)


def loaded(path: Path, **options) -> OmniglotDataModule:
    data = OmniglotDataModule(str(path), **options)
    data.setup("fit")
    data.setup("test")
    return data


def test_gray(path):
    data = loaded(path, binarization="none")
    assert (data.event_shape, data.num_levels) == ((1, 28, 28), 256)
    numbers = {split: data.dataset(split).images[:, 0, 3, 0].tolist() for split in ("train", "val", "test")}
    assert {split: len(found) for split, found in numbers.items()} == {"train": 20, "val": 5, "test": 4}
    assert sorted(numbers["train"] + numbers["val"]) == list(range(25))
    assert numbers["train"] != sorted(numbers["train"])
    assert numbers["test"] == [25, 26, 27, 28]
    assert data.dataset("val").names == [f"data/{i:05d}" for i in numbers["val"]]
    assert data.dataset("test").names[0] == "testdata/00000"
    expected = torch.zeros(28, 28)
    expected[3] = 25
    expected[:, 9] = 255
    assert torch.equal(data.dataset("test").images[0, 0], expected.byte())


def test_binary_by_default(path):
    data = loaded(path)
    assert data.num_levels == 2
    for split in ("val", "test"):
        assert torch.equal(data.dataset(split).images, loaded(path).dataset(split).images)
        assert data.dataset(split).images.unique().tolist() == [0, 1]
        assert data.dataset(split).images[:, 0, :, 9].min() == 1
    assert next(iter(data.train_dataloader()))["image"].max() == 1


@pytest.mark.parametrize(
    ("arrays", "fact"),
    [
        (None, "does not exist"),
        ({"data": np.zeros((784, 25))}, "has no array 'testdata', but data"),
        ({"testdata": np.zeros((784, 5))}, "has testdata of shape 784 x 5, not 784 x 4"),
        ({"testdata": np.full((784, 4), np.nan)}, "has values that are neither"),
    ],
)
def test_errors(path, arrays, fact):
    path.unlink()
    if arrays is not None:
        scipy.io.savemat(path, arrays)
    with pytest.raises(DataError, match=rf"^{path} {fact}.*: set --data\.path to chardata\.mat, from .*`iwae`$"):
        OmniglotDataModule(str(path)).setup("test")
