"""ImageDataset: items, transforms and bad arguments."""

import pytest
import torch
from torch.utils.data import DataLoader

from lightning_flows.data.datasets import ImageDataset
from lightning_flows.errors import ShapeError


def make(num: int = 4, **kwargs) -> ImageDataset:
    images = torch.arange(num, dtype=torch.uint8).view(-1, 1, 1, 1).expand(num, 3, 8, 8).clone()
    return ImageDataset(images, torch.arange(num) + 10, names=[f"{i}.png" for i in range(num)], **kwargs)


def test_items_stay_uint8_and_collate():
    dataset = make()
    item = dataset[2]
    assert {key: (value.dtype, value.shape) for key, value in item.items()} == {
        "image": (torch.uint8, (3, 8, 8)),
        "label": (torch.int64, ()),
        "index": (torch.int64, ()),
    }
    batch = next(iter(DataLoader(dataset, batch_size=4)))
    assert torch.equal(batch["image"], dataset.images)
    assert batch["label"].tolist() == [10, 11, 12, 13]
    assert batch["index"].tolist() == [0, 1, 2, 3]


def test_transform_is_applied_to_the_image_only():
    dataset = make(transform=lambda image: 255 - image)
    assert dataset[3]["image"].unique().tolist() == [252]
    assert dataset.images[3].unique().tolist() == [3]
    assert dataset[3]["label"] == 13


@pytest.mark.parametrize(
    ("images", "labels", "names", "error", "message"),
    [
        (torch.zeros(2, 3, 4, 4), torch.zeros(2), ["a", "b"], TypeError, "expected uint8 images; got torch.float32"),
        (torch.zeros(3, 4, 4).byte(), torch.zeros(3), ["a", "b", "c"], ShapeError, r"got \(3, 4, 4\)"),
        (torch.zeros(2, 3, 4, 4).byte(), torch.zeros(3), ["a", "b"], ShapeError, r"labels of shape \(3,\)"),
        (torch.zeros(2, 3, 4, 4).byte(), torch.zeros(2), ["a"], ShapeError, "1 names"),
    ],
)
def test_bad_arguments(images, labels, names, error, message):
    with pytest.raises(error, match=message):
        ImageDataset(images, labels, names=names)
