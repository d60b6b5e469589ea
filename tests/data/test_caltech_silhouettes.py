"""Caltech 101 silhouettes: orientation, labels and splits of the MATLAB file, and errors of one line."""

from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch

from lightning_flows.data import CaltechSilhouettesDataModule, caltech_silhouettes
from lightning_flows.errors import DataError

NUM = {"train": 6, "val": 3, "test": 4}


@pytest.fixture
def path(tmp_path, monkeypatch) -> Path:
    """Write files whose images have zeros in the row that is the number of the image, and in column 20."""
    monkeypatch.setattr(caltech_silhouettes, "NUM", NUM)
    write(tmp_path / "a.mat")
    return tmp_path / "a.mat"


def write(path: Path, **others: np.ndarray) -> None:
    arrays = {}
    for split, num in NUM.items():
        images = np.ones((num, 28, 28), np.uint8)
        images[np.arange(num), np.arange(num)] = 0
        images[:, :, 20] = 0
        arrays[f"{split}_data"] = images.swapaxes(1, 2).reshape(num, 784)
        arrays[f"{split}_labels"] = np.arange(1, num + 1, dtype=np.uint8)[:, None]
    scipy.io.savemat(path, arrays | others)


def test_sizes_of_published_splits():
    assert caltech_silhouettes.NUM == {"train": 4100, "val": 2264, "test": 2307}


def test_splits(path):
    data = CaltechSilhouettesDataModule(str(path))
    assert (data.event_shape, data.num_levels) == ((1, 28, 28), 2)
    data.setup("fit")
    data.setup("test")
    for split, num in NUM.items():
        expected = torch.zeros(num, 1, 28, 28, dtype=torch.uint8)
        expected[torch.arange(num), 0, torch.arange(num)] = 1
        expected[..., 20] = 1
        assert torch.equal(data.dataset(split).images, expected)
        assert data.dataset(split).labels.tolist() == list(range(num))


@pytest.mark.parametrize(
    ("others", "fact"),
    [
        (None, "does not exist"),
        ({"train_data": np.full((6, 784), 2)}, "has values other than 0 and 1 in train_data"),
        ({"train_data": np.zeros((5, 784))}, "has train_data of shape 5 x 784, not 6 x 784"),
        ({"train_labels": np.zeros((3, 1))}, "has train_labels of shape 3 x 1, not 6 x 1"),
        ({"train_labels": np.arange(6)[:, None]}, "has labels other than 1 to 101 in train_labels"),
        ({"train_labels": np.arange(6)[:, None] + 0.5}, "has labels other than 1 to 101 in train_labels"),
    ],
)
def test_errors(path, others, fact):
    path.unlink() if others is None else write(path, **others)
    remedy = r": set --data\.path to caltech101_silhouettes_28_split1\.mat from .* page of data$"
    with pytest.raises(DataError, match=rf"^{path} {fact}{remedy}"):
        CaltechSilhouettesDataModule(str(path)).setup("fit")
