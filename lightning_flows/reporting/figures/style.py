"""Shared style: lines distinguishable with color blindness and in grayscale, maps of values, tiles of images."""

from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from torch import Tensor
from torch.nn.functional import pad

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colors of Okabe and Ito, 2008."""
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
"""A dash pattern for each color."""
FRAME, WHITE, GAP = 160, 255, 2
"""Gray level of the one-pixel frame of an image, and white pixels between frames."""


def line(number: int) -> dict[str, Any]:
    """Color and dash pattern of a line; colors repeat after seven, with the next pattern.

    >>> line(1), line(8)
    ({'color': '#D55E00', 'linestyle': '--'}, {'color': '#D55E00', 'linestyle': '-.'})
    """
    count = len(COLORS)
    return {"color": COLORS[number % count], "linestyle": DASHES[(number + number // count) % count]}


def draw_map(
    axes: Axes, values: Tensor, limit: float | None = None, *, title: str = "", cmap: str = "RdBu_r", **options: Any
) -> AxesImage:
    """Draw values ``(H, W)`` on a scale from −limit to limit, without ticks; zero is white in the default colors.

    By default, limit is the largest absolute value. Options are those of ``imshow``.
    """
    limit = limit or float(values.abs().max()) or 1.0
    image = axes.imshow(values.cpu(), cmap=cmap, vmin=-limit, vmax=limit, interpolation="nearest", **options)
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize="medium")
    return image


def draw_tiles(axes: Axes, images: Tensor, *, columns: int, below: int = GAP) -> tuple[list[float], list[float]]:
    """Draw images uint8 ``(N, C, H, W)`` in rows of ``columns``, each in a thin gray frame, ``below`` pixels apart.

    Returns the centers of the columns and of the rows, in the coordinates of the axes. The last row may be shorter.
    """
    num, channels, height, width = images.shape
    rows = -(-num // columns)
    tiles = pad(images.cpu().expand(-1, 3 if channels == 1 else channels, -1, -1), (1, 1, 1, 1), value=FRAME)
    tiles = pad(tiles, (0, GAP, 0, below), value=WHITE)
    tiles = torch.cat([tiles, tiles.new_full((rows * columns - num, *tiles.shape[1:]), WHITE)])
    across, down = width + 2 + GAP, height + 2 + below
    grid = tiles.unflatten(0, (rows, columns)).permute(0, 3, 1, 4, 2).reshape(rows * down, columns * across, -1)
    axes.imshow(grid, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return [across * k + width / 2 + 0.5 for k in range(columns)], [down * r + height / 2 + 0.5 for r in range(rows)]
