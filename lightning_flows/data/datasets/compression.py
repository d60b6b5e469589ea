"""Bits per dimension of lossless image files: a baseline for density models."""

from io import BytesIO
from typing import Any

from torch import Tensor
from torchvision.transforms.v2 import functional as F

from lightning_flows.errors import InputTypeError, ShapeError


def png_bits_per_dim(images: Tensor) -> float:
    """Return the mean size of the images as optimized PNG files, in bits per dimension.

    .. math:: \\frac{1}{N} \\sum_n \\frac{8 \\cdot \\text{bytes}_n}{C H W}

    Shapes: images uint8 ``(N, C, H, W)`` with 1 or 3 channels.
    Raises: ShapeError for other shapes or no images; TypeError if the images are not uint8.

    >>> import torch
    >>> noise = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    >>> png_bits_per_dim(noise) > 8, png_bits_per_dim(torch.zeros_like(noise)) < 0.3
    (True, True)
    """
    return _bits_per_dim(images, format="PNG", optimize=True)


def webp_bits_per_dim(images: Tensor) -> float:
    """Return the mean size of the images as lossless WebP files; see :func:`png_bits_per_dim`.

    Shapes: images uint8 ``(N, C, H, W)`` with 1 or 3 channels.
    Raises: as :func:`png_bits_per_dim`.

    >>> import torch
    >>> noise = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    >>> webp_bits_per_dim(noise) > 8, webp_bits_per_dim(torch.zeros_like(noise)) < 0.3
    (True, True)
    """
    return _bits_per_dim(images, format="WEBP", lossless=True, quality=100, method=6)


def _bits_per_dim(images: Tensor, **options: Any) -> float:
    if images.ndim != 4 or images.shape[1] not in (1, 3) or images.numel() == 0:
        raise ShapeError(f"expected images of shape (N, 1 or 3, H, W), N at least 1; got {tuple(images.shape)}")
    if images.is_floating_point():
        raise InputTypeError(f"expected uint8 images; got {images.dtype}")
    num_bytes = 0
    for image in images.cpu():
        file = BytesIO()
        F.to_pil_image(image).save(file, **options)
        num_bytes += file.tell()
    return 8 * num_bytes / images.numel()
