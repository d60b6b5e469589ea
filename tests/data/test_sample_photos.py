"""SamplePhotosDataModule: splits and arguments; the dataset's tests cover the crops."""

import pytest
import torch

from lightning_flows.data import SamplePhotosDataModule
from lightning_flows.errors import UsageError


def test_splits():
    data = SamplePhotosDataModule(stride=16, batch_size=32)
    assert data.event_shape == (3, 32, 32)
    data.setup("fit")
    data.setup("test")
    assert {split: len(data.dataset(split)) for split in ("train", "val", "test")} == {
        "train": 1200,
        "val": 52,
        "test": 104,
    }
    assert next(iter(data.train_dataloader()))["image"].shape == (32, *data.event_shape)
    assert data.dataset("train").transform is None


def test_augmentation_on_request():
    data = SamplePhotosDataModule(stride=32, augment=True)
    data.setup("fit")
    train, val = data.dataset("train"), data.dataset("val")
    assert not torch.equal(train.training_batch(torch.arange(9), 0)["image"], train.images[:9])
    assert torch.equal(val.training_batch(torch.arange(9), 0)["image"], val.images[:9])


def test_bad_stride():
    with pytest.raises(UsageError, match="expected stride of at least 1; got 0"):
        SamplePhotosDataModule(stride=0)
