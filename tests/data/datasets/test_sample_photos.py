"""Crops of the sample photographs: number, position, and no pixel in two splits."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images
from sklearn.utils import Bunch

from lightning_flows.data.datasets import sample_photo, sample_photo_crops, sample_photos
from lightning_flows.errors import UsageError


@pytest.fixture
def numbered_photos(monkeypatch):
    """Replace each photograph by an image whose pixels encode their own index in base 256."""

    def load() -> Bunch:
        numbers = np.arange(2 * 427 * 640).reshape(2, 427, 640)
        images = np.stack([numbers >> shift & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8)
        return Bunch(images=list(images), filenames=["C:\\folder\\china.jpg", "/folder/flower.jpg"])

    monkeypatch.setattr(sample_photos, "load_sample_images", load)


def covered_pixels(images: torch.Tensor) -> torch.Tensor:
    """Whether any crop shows each pixel of both photographs."""
    covered = torch.zeros(2 * 427 * 640, dtype=torch.bool)
    for chunk in images.split(1000):
        covered[pixel_numbers(chunk).flatten()] = True
    return covered


def pixel_numbers(images: torch.Tensor) -> torch.Tensor:
    return (images.long() * torch.tensor([1, 256, 65536]).view(1, 3, 1, 1)).sum(1)


@pytest.mark.parametrize("stride", [4, 7])
def test_no_pixel_is_in_two_splits(numbered_photos, stride):
    splits = {
        split: covered_pixels(sample_photo_crops(split, stride=stride).images) for split in ("train", "val", "test")
    }
    assert not (splits["train"] & splits["val"]).any()
    assert not (splits["train"] & splits["test"]).any()
    assert not (splits["val"] & splits["test"]).any()
    columns = {
        split: set(covered.view(2 * 427, 10, 64).any(2).any(0).nonzero().flatten().tolist())
        for split, covered in splits.items()
    }
    assert columns == {"train": {0, 1, 3, 4, 6, 8, 9}, "val": {5}, "test": {2, 7}}


def test_evaluation_crops_do_not_overlap(numbered_photos):
    for split, num in (("val", 52), ("test", 104)):
        numbers = pixel_numbers(sample_photo_crops(split).images)
        assert numbers.unique().numel() == numbers.numel() == num * 32 * 32


def test_names_and_labels_identify_the_source_of_a_crop(numbered_photos):
    for split in ("train", "val", "test"):
        crops = sample_photo_crops(split, stride=8)
        corners = pixel_numbers(crops.images)[:, 0, 0]
        expected = [
            f"{['china.jpg', 'flower.jpg'][n // 427 // 640]} y={n // 640 % 427} x={n % 640}" for n in corners.tolist()
        ]
        assert crops.names == expected
        assert len(set(crops.names)) == len(crops)
        assert torch.equal(crops.labels, corners // 640 // 427)


def test_real_photographs():
    crops = sample_photo_crops("train")
    assert len(crops) == 16632
    assert crops.images.shape[1:] == (3, 32, 32)
    i = crops.names.index("flower.jpg y=8 x=196")
    assert np.array_equal(crops.images[i].permute(1, 2, 0), load_sample_images().images[1][8:40, 196:228])


def test_bad_arguments():
    with pytest.raises(UsageError, match="expected split train, val or test; got 'tset'"):
        sample_photo_crops("tset")
    with pytest.raises(UsageError, match="stride of at least 1; got 0"):
        sample_photo_crops("train", stride=0)


def test_whole_photographs_by_name():
    assert sample_photo("flower.jpg").shape == (3, 427, 640)
    assert sample_photo().dtype == torch.uint8
    with pytest.raises(UsageError, match=r"china.jpg, flower.jpg; got 'cat.jpg'"):
        sample_photo("cat.jpg")
