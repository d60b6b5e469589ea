"""Fashion-MNIST: small idx files, padding, and errors if it is missing."""

import http.client
import socket
import struct
import tarfile
import zlib
from pathlib import Path

import pytest
import torch

from lightning_flows.data import FashionMNISTDataModule
from lightning_flows.errors import DataError


def write_idx(path: Path, values: torch.Tensor) -> None:
    """Write the format of yann.lecun.com: two zero bytes, type 8 (uint8), number of dimensions, sizes, values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(header + values.byte().numpy().tobytes())


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """Write 12 training images (the last 5 validate) and 4 test images; image i has the value 100 + i."""
    for file, num in (("train", 12), ("t10k", 4)):
        raw = tmp_path / "FashionMNIST" / "raw"
        write_idx(raw / f"{file}-images-idx3-ubyte", (100 + torch.arange(num)).view(-1, 1, 1).expand(num, 28, 28))
        write_idx(raw / f"{file}-labels-idx1-ubyte", torch.arange(num) % 10)
    monkeypatch.setattr(FashionMNISTDataModule, "num_val", 5)
    return tmp_path


@pytest.mark.usefixtures("offline")
def test_files_in_root_are_enough(root):
    data = FashionMNISTDataModule(str(root), augment=False)
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    assert data.dataset("train").names == [f"train/{i:05d}" for i in range(7)]
    assert data.dataset("val").names == [f"train/{i:05d}" for i in range(7, 12)]
    assert data.dataset("test").names == [f"test/{i:05d}" for i in range(4)]
    assert data.dataset("val").labels.tolist() == [7, 8, 9, 0, 1]
    image = data.dataset("val")[0]["image"]
    expected = torch.zeros(1, 32, 32)
    expected[:, 2:30, 2:30] = 107
    assert image.dtype == torch.uint8
    assert torch.equal(image, expected.byte())


@pytest.mark.usefixtures("offline")
def test_binary_images_without_padding(root):
    data = FashionMNISTDataModule(str(root), pad=False, augment=False, binarization="dynamic", batch_size=7)
    assert data.event_shape == (1, 28, 28)
    assert data.num_levels == 2
    data.setup("fit")
    data.setup("test")
    (batch,) = data.train_dataloader()
    assert batch["image"].shape == (7, 1, 28, 28)
    assert batch["image"].unique().tolist() == [0, 1]
    assert data.dataset("test").images.float().mean((1, 2, 3)).allclose((100 + torch.arange(4)) / 255, atol=0.06)


@pytest.mark.parametrize("length", [0, 3, 10, 500])
@pytest.mark.parametrize("file", ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"])
def test_truncated_files(root, file, length):
    path = root / "FashionMNIST" / "raw" / file
    path.write_bytes(path.read_bytes()[: min(length, path.stat().st_size - 1)])
    with pytest.raises(DataError, match=r"FashionMNIST in .* is missing or damaged"):
        FashionMNISTDataModule(str(root)).setup("fit")


def test_labels_of_another_data_set(root):
    write_idx(root / "FashionMNIST" / "raw" / "train-labels-idx1-ubyte", torch.zeros(3))
    with pytest.raises(DataError, match=r"FashionMNIST in .* has 12 images and 3 labels"):
        FashionMNISTDataModule(str(root)).setup("fit")


@pytest.mark.parametrize("shape", [(12, 100, 100), (12, 28, 14)])
def test_images_of_another_data_set(root, shape):
    write_idx(root / "FashionMNIST" / "raw" / "train-images-idx3-ubyte", torch.zeros(shape))
    with pytest.raises(DataError, match=r"FashionMNIST in .* has .*images of shape .*, not \(1, 28, 28\): decompress"):
        FashionMNISTDataModule(str(root)).setup("fit")


@pytest.mark.parametrize(
    "error", [http.client.IncompleteRead(b""), tarfile.ReadError("x"), zlib.error("x"), TimeoutError()]
)
def test_any_error_of_a_download_is_one_line(tmp_path, monkeypatch, error):
    def refuse(*args, **kwargs):
        assert socket.getdefaulttimeout() == 60
        raise error

    refuse.__name__ = "FashionMNIST"
    monkeypatch.setattr(FashionMNISTDataModule, "source", staticmethod(refuse))
    with pytest.raises(DataError, match=r"FashionMNIST in .* is missing or damaged"):
        FashionMNISTDataModule(str(tmp_path)).prepare_data()
    assert socket.getdefaulttimeout() is None
