"""Static binarized MNIST: splits of the text files, and errors of one line."""

from pathlib import Path

import numpy as np
import pytest

from lightning_flows.data import StaticMNISTDataModule, static_mnist
from lightning_flows.errors import DataError, UsageError

NUM = {"train": 6, "val": 3, "test": 4}


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """Write small files; the images of a split begin with its first letter's code in binary."""
    monkeypatch.setattr(static_mnist, "NUM", NUM)
    for split, file in static_mnist.FILES.items():
        images = np.random.default_rng(0).integers(0, 2, (NUM[split], 784))
        images[:, :8] = [int(bit) for bit in f"{ord(split[0]):08b}"]
        np.savetxt(tmp_path / file, images, fmt="%d")
    return tmp_path


def test_sizes_of_published_splits():
    assert static_mnist.NUM == {"train": 50_000, "val": 10_000, "test": 10_000}


def test_splits(root):
    data = StaticMNISTDataModule(str(root))
    assert (data.event_shape, data.num_levels) == ((1, 28, 28), 2)
    data.setup("fit")
    data.setup("test")
    for split, num in NUM.items():
        images = data.dataset(split).images
        assert images.shape == (num, 1, 28, 28)
        assert images.unique().tolist() == [0, 1]
        assert int("".join(map(str, images[0, 0, 0, :8].tolist())), 2) == ord(split[0])
    assert data.dataset("train").transform is None


@pytest.mark.parametrize(
    ("content", "fact"), [(None, "does not exist"), ("1 0", "has only 0.0 of 6 lines"), ("x", "has ch")]
)
def test_errors(root, content, fact):
    path = root / "binarized_mnist_train.amat"
    path.unlink() if content is None else path.write_text(content)
    message = rf"^{path} {fact}.*: put binarized_mnist_train\.amat, .* from Hugo Larochelle's page into data\.root$"
    with pytest.raises(DataError, match=message):
        StaticMNISTDataModule(str(root)).setup("fit")


def test_binary_already():
    with pytest.raises(UsageError, match="StaticMNISTDataModule are binary already: omit binarization"):
        StaticMNISTDataModule(binarization="fixed")
