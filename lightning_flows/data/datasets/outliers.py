"""Images that a flow trained on photographs has not seen."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from lightning_flows.errors import ShapeError
from lightning_flows.functional.streams import stream


def constant_images(num: int, event_shape: Sequence[int], seed: int = 0) -> Tensor:
    """Return images of one color each, uniform over all colors: uint8 ``(num, *event_shape)``.

    >>> images = constant_images(2, (3, 4, 4))
    >>> images.shape, bool((images == images[:, :, :1, :1]).all())
    (torch.Size([2, 3, 4, 4]), True)
    """
    channels, height, width = event_shape
    colors = torch.randint(256, (num, channels, 1, 1), generator=stream(seed, "constant images"), dtype=torch.uint8)
    return colors.expand(-1, -1, height, width).contiguous()


def noise_images(num: int, event_shape: Sequence[int], seed: int = 0) -> Tensor:
    """Return independent uniform noise: uint8 ``(num, *event_shape)``, 8 bits per dimension.

    >>> images = noise_images(2, (3, 4, 4))
    >>> images.shape, images.dtype
    (torch.Size([2, 3, 4, 4]), torch.uint8)
    """
    return torch.randint(256, (num, *event_shape), generator=stream(seed, "noise images"), dtype=torch.uint8)


def images_as(images: Tensor, event_shape: Sequence[int]) -> Tensor:
    """Convert images to another shape: grayscale is repeated, color averaged, another size resized.

    Shapes: uint8 ``(N, 1 or 3, H, W)`` to ``(N, *event_shape)``. Raises: ShapeError for other channels.

    >>> images_as(torch.tensor([[[[0]], [[90]], [[30]]]], dtype=torch.uint8), (1, 1, 2))  # their mean, twice as wide
    tensor([[[[40, 40]]]], dtype=torch.uint8)
    """
    channels, height, width = event_shape
    if images.shape[1] not in (1, 3) or channels not in (1, 3):
        raise ShapeError(f"expected images with 1 or 3 channels; got {images.shape[1]} and {channels}")
    if images.shape[1] != channels:
        gray = images.float().mean(1, keepdim=True).round().to(torch.uint8)
        images = gray.expand(-1, channels, -1, -1)
    if images.shape[2:] != (height, width):
        images = F.resize(images, [height, width], antialias=True)
    return images.contiguous()
