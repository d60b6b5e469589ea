import pytest
import torch

from lightning_flows.data.datasets import constant_images, images_as, noise_images
from lightning_flows.errors import ShapeError


def test_constant_images_have_one_color_each() -> None:
    images = constant_images(50, (3, 4, 6))
    assert images.shape == (50, 3, 4, 6)
    assert images.dtype == torch.uint8
    assert (images == images[:, :, :1, :1]).all()
    assert len(images[:, :, 0, 0].unique(dim=0)) == 50


def test_noise_takes_all_levels_equally_often() -> None:
    images = noise_images(20, (3, 32, 32))
    counts = torch.bincount(images.flatten().long(), minlength=256)
    assert images.shape == (20, 3, 32, 32)
    assert ((counts - 240).abs() < 6 * 240**0.5).all()


@pytest.mark.parametrize("make", [constant_images, noise_images])
def test_images_depend_on_the_seed(make) -> None:
    assert torch.equal(make(3, (1, 4, 4), seed=1), make(3, (1, 4, 4), seed=1))
    assert not torch.equal(make(3, (1, 4, 4), seed=1), make(3, (1, 4, 4), seed=2))


def test_images_are_converted_to_another_shape() -> None:
    gray = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8)
    color = images_as(gray, (3, 8, 8))
    assert torch.equal(color, gray.expand(1, 3, 8, 8))
    assert torch.equal(images_as(color, (1, 8, 8)), gray)
    thirds = torch.tensor([10, 11, 11], dtype=torch.uint8).reshape(1, 3, 1, 1)
    assert images_as(thirds, (1, 1, 1)).item() == 11
    assert images_as(gray, (3, 16, 4)).shape == (1, 3, 16, 4)
    assert torch.equal(
        images_as(torch.full((1, 1, 28, 28), 9, dtype=torch.uint8), (3, 32, 32)).unique(), torch.tensor([9])
    )
    with pytest.raises(ShapeError, match="1 or 3 channels; got 2"):
        images_as(torch.zeros(1, 2, 4, 4, dtype=torch.uint8), (3, 4, 4))
