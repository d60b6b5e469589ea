"""CIFAR-10: a small version of the published format, the authors' split, and errors if it is missing."""

import hashlib
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from lightning_flows.data import CIFAR10DataModule
from lightning_flows.errors import DataError

BATCHES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def archive(tmp_path, monkeypatch) -> Path:
    """Write cifar-10-python.tar.gz with six images a batch, the last 10 of 30 validating; teach torchvision its sums.

    Image i of batch b has the value 40·b + i, plus 100 in green, plus 1 in row 3, plus 2 in column 5, as a byte.
    """
    folder = tmp_path / "made" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for b, name in enumerate(BATCHES):
        pixels = np.zeros((6, 3, 32, 32), dtype=int) + 40 * b + np.arange(6).reshape(-1, 1, 1, 1)
        pixels[:, 1] += 100
        pixels[:, :, 3] += 1
        pixels[:, :, :, 5] += 2
        content = {"data": pixels.astype(np.uint8).reshape(6, 3072), "labels": [b] * 6}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}, protocol=2))
    path = tmp_path / "made" / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, arcname=folder.name)
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [[name, md5(folder / name)] for name in BATCHES[:5]])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [[BATCHES[5], md5(folder / BATCHES[5])]])
    monkeypatch.setattr(datasets.CIFAR10, "meta", datasets.CIFAR10.meta | {"md5": md5(folder / "batches.meta")})
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", md5(path))
    monkeypatch.setattr(CIFAR10DataModule, "num_val", 10)
    return path


@pytest.mark.usefixtures("offline")
def test_archive_in_root_is_enough(archive):
    data = CIFAR10DataModule(str(archive.parent), augment=False)
    (archive.parent / "cifar-10-batches-py" / "test_batch").unlink()  # must come out of the archive again
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    assert {split: len(data.dataset(split)) for split in ("train", "val", "test")} == {
        "train": 20,
        "val": 10,
        "test": 6,
    }
    assert data.dataset("train").names[-1] == "train/00019"
    assert data.dataset("val").names[0] == "train/00020"
    assert data.dataset("test").names[3] == "test/00003"
    assert data.dataset("val").labels.tolist() == [3] * 4 + [4] * 6
    first = data.dataset("val")[0]["image"]  # image 2 of batch 3
    expected = torch.full((3, 32, 32), 122)
    expected[1] += 100
    expected[:, 3] += 1
    expected[:, :, 5] += 2
    assert first.dtype == torch.uint8
    assert first.is_contiguous()
    assert torch.equal(first, expected.byte())


def test_missing_without_a_download(tmp_path):
    with pytest.raises(DataError, match=r"CIFAR10 in .* is missing or damaged"):
        CIFAR10DataModule(str(tmp_path)).setup("fit")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("offline")
def test_a_damaged_archive_is_refused_and_kept(archive):
    root = archive.parent
    for path in (root / "cifar-10-batches-py").iterdir():
        path.unlink()
    damaged = archive.read_bytes()[:-50]
    archive.write_bytes(damaged)
    with pytest.raises(DataError, match=r"put cifar-10-python\.tar\.gz into"):
        CIFAR10DataModule(str(root)).prepare_data()
    assert archive.read_bytes() == damaged


def test_a_root_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"CIFAR10 in .* is missing or damaged .*\(.*file"):
        CIFAR10DataModule(str(tmp_path / "file")).prepare_data()


@pytest.mark.usefixtures("offline")
def test_too_few_images_to_train(archive, monkeypatch):
    monkeypatch.setattr(CIFAR10DataModule, "num_val", 10_000)
    data = CIFAR10DataModule(str(archive.parent))
    with pytest.raises(DataError, match="CIFAR10DataModule has no items in its train split"):
        data.setup("fit")
    data.setup("validate")
    assert len(data.dataset("val")) == 30
