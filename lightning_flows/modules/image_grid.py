"""Images in a grid, with the thin gray frames of all grids that the package draws."""

import math

import torch.nn.functional as F
from torch import Tensor
from torchvision.utils import make_grid

GRAY = 160
"""Level of the lines between images: distinct from black and from white ones."""


def image_grid(images: Tensor, columns: int | None = None, scale: int = 1) -> Tensor:
    """Arrange uint8 images ``(N, C, H, W)`` in rows, by default as many as columns, one gray pixel apart.

    Each pixel of an image becomes a square of ``scale`` by ``scale``, without smoothing; the lines remain thin. Two
    channels are red and green, and of more than three, the first three are shown.

    Shape: ``(3, rows · (scale · H + 1) + 1, columns · (scale · W + 1) + 1)``, and a single image has no lines.
    """
    if images.shape[1] != 1:
        images = F.pad(images[:, :3], (0, 0, 0, 0, 0, 3 - min(3, images.shape[1])))
    larger = images.repeat_interleave(scale, -2).repeat_interleave(scale, -1)
    return make_grid(larger, nrow=columns or max(1, math.ceil(len(images) ** 0.5)), padding=1, pad_value=GRAY)
