"""Bits per dimension of lossless files, against the files' own sizes and known images."""

import pytest
import torch
from PIL import Image

from lightning_flows.data.datasets import png_bits_per_dim, sample_photo_crops, webp_bits_per_dim
from lightning_flows.errors import ShapeError


def noise(*shape: int) -> torch.Tensor:
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("bits_per_dim", "suffix", "options"),
    [
        (png_bits_per_dim, "png", {"optimize": True}),
        (webp_bits_per_dim, "webp", {"lossless": True, "quality": 100, "method": 6}),
    ],
)
def test_equals_the_size_of_files(tmp_path, bits_per_dim, suffix, options, channels):
    images = noise(3, channels, 16, 16) // torch.tensor([1, 16, 128]).view(3, 1, 1, 1)
    images = images.byte()
    num_bytes = 0
    for i, image in enumerate(images):
        path = tmp_path / f"{i}.{suffix}"
        array = image.permute(1, 2, 0).squeeze(-1).numpy()
        Image.fromarray(array).save(path, **options)
        num_bytes += path.stat().st_size
        assert torch.equal(
            torch.tensor(list(Image.open(path).convert("RGB").tobytes()))[:: 4 - channels],
            image.permute(1, 2, 0).reshape(-1).long(),
        )  # lossless
    assert bits_per_dim(images) == pytest.approx(8 * num_bytes / (3 * channels * 16 * 16), rel=1e-12)


@pytest.mark.parametrize("bits_per_dim", [png_bits_per_dim, webp_bits_per_dim])
def test_harder_images_have_larger_files(bits_per_dim):
    flat = torch.full((2, 3, 32, 32), 7, dtype=torch.uint8)
    photos = sample_photo_crops("test").images[::8]
    assert bits_per_dim(flat) < 1 < bits_per_dim(photos) < 8 < bits_per_dim(noise(2, 3, 32, 32))


def test_photo_crops_have_known_sizes():
    images = sample_photo_crops("test").images
    assert png_bits_per_dim(images) == pytest.approx(3.78, abs=0.03)  # differs a little between versions of zlib
    assert webp_bits_per_dim(images[::4]) == pytest.approx(3.03, abs=0.03)


@pytest.mark.parametrize("bits_per_dim", [png_bits_per_dim, webp_bits_per_dim])
def test_bad_arguments(bits_per_dim):
    with pytest.raises(ShapeError, match=r"expected images of shape .*; got \(2, 4, 8, 8\)"):
        bits_per_dim(torch.zeros(2, 4, 8, 8, dtype=torch.uint8))
    with pytest.raises(ShapeError, match="N at least 1"):
        bits_per_dim(torch.zeros(0, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(TypeError, match="expected uint8 images; got"):
        bits_per_dim(torch.zeros(2, 3, 8, 8))
