"""Images of a trained flow: samples, the way between two images, and samples beside what they may be copies of."""

import math
from typing import NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import pad

from lightning_flows.dequantization import DequantizedFlow
from lightning_flows.errors import ShapeError

GAP = 2
"""White pixels between two images."""
CAPTION = 9
"""White pixels below an image that has a caption."""


class Neighbors(NamedTuple):
    """Samples uint8 ``(N, C, H, W)``, their K nearest images ``(N, K, C, H, W)`` and the distances ``(N, K)``."""

    samples: Tensor
    nearest: Tensor
    distances: Tensor


@torch.no_grad()
def interpolate(model: DequantizedFlow, first: Tensor, second: Tensor, num_steps: int = 9) -> Tensor:
    r"""Images on the way from one to another through the latent space, both ends included.

    .. math:: x_t = f^{-1}\big(\cos(\tfrac{\pi t}{2})\, f(x_0) + \sin(\tfrac{\pi t}{2})\, f(x_1)\big),
              \qquad 0 \le t \le 1

    For independent standard normal latents each point of the way is standard normal again; on the straight line the
    middle would be too short. Both images are dequantized by u = ½, so that the ends are the images themselves.

    Shapes: uint8 ``(N, C, H, W)`` each, to uint8 ``(N, num_steps, C, H, W)``. Raises: ShapeError if the two differ.
    """
    if first.shape != second.shape:
        raise ShapeError(f"expected two images a pair; got {tuple(first.shape)} and {tuple(second.shape)}")
    flow = model.flow
    ends = [flow.encode(image + 0.5, dtype=torch.float64) for image in (first, second)]
    ends = [(*noise, flow.base.to_noise(last)) for *noise, last in ends]
    steps = []
    for t in torch.linspace(0, 1, num_steps, dtype=torch.float64).tolist():
        near, far = math.cos(math.pi * t / 2), math.sin(math.pi * t / 2)
        *noise, last = (near * z + far * w for z, w in zip(*ends, strict=True))
        values = flow.decode((*noise, flow.base.from_noise(last)), dtype=torch.float64)
        steps.append(values.nan_to_num(0).floor().clamp(0, 255).to(torch.uint8))
    return torch.stack(steps, dim=1)


def nearest_images(samples: Tensor, images: Tensor, num: int = 5) -> Neighbors:
    r"""The images nearest to each sample, by the root mean square of the differences, in pixel levels.

    .. math:: d(x, y) = \sqrt{\tfrac1D \textstyle\sum_i (x_i - y_i)^2}

    Shapes: samples uint8 ``(N, C, H, W)``, images uint8 ``(M, C, H, W)`` with M of at least ``num``.
    """
    x, y = samples.flatten(1).float(), images.flatten(1).float()
    distances = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist") / math.sqrt(x.shape[1])
    values, indices = distances.topk(num, largest=False)
    return Neighbors(samples, images[indices], values)


def samples_figure(images: Tensor) -> Figure:
    """Samples uint8 ``(N, C, H, W)`` in rows of equal length; the last row may be shorter."""
    columns = max(1, math.ceil(len(images) ** 0.5))
    rows = math.ceil(len(images) / columns)
    filled = torch.cat([images, images.new_full((rows * columns - len(images), *images.shape[1:]), 255)])
    figure, _ = _tiles_figure(filled.unflatten(0, (rows, columns)), below=GAP)
    return figure


def interpolation_figure(images: Tensor) -> Figure:
    """Images uint8 ``(N, K, C, H, W)``: a row a pair, from the first image to the second."""
    figure, axes = _tiles_figure(images, below=GAP)
    num_steps, width = images.shape[1], images.shape[-1] + GAP
    middles = [width * k + (width - GAP) / 2 for k in range(num_steps)]
    axes.set_xticks(middles, [f"{k / max(1, num_steps - 1):.3g}" for k in range(num_steps)])
    axes.set_xlabel("t, from the first image to the second")
    axes.tick_params(length=0)
    return figure


def neighbors_figure(data: Neighbors) -> Figure:
    """A row a sample: the sample, then its nearest images with their distances in levels."""
    figure, axes = _tiles_figure(torch.cat([data.samples[:, None], data.nearest], dim=1), below=CAPTION)
    height, width = data.samples.shape[2] + CAPTION, data.samples.shape[3] + GAP
    axes.set_xticks(
        [(width - GAP) / 2, width * (1 + data.nearest.shape[1] / 2)], ["sample", "nearest images, with distance"]
    )
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    for row, distances in enumerate(data.distances.tolist()):
        for column, distance in enumerate(distances, start=1):
            x, y = width * column + (width - GAP) / 2, height * (row + 1) - CAPTION
            axes.text(x, y, f"{distance:.1f}", ha="center", va="top", fontsize="small")
    return figure


def _tiles_figure(images: Tensor, *, below: int) -> tuple[Figure, Axes]:
    """Rows and columns of images ``(R, K, C, H, W)`` as one image, white space between."""
    rows, columns, channels, height, width = images.shape
    tiles = pad(images.expand(-1, -1, 3 if channels == 1 else channels, -1, -1), (0, GAP, 0, below), value=255)
    grid = tiles.permute(0, 3, 1, 4, 2).reshape(rows * (height + below), columns * (width + GAP), -1).cpu()
    figure = Figure(
        figsize=(0.75 * columns + 0.3, 0.75 * rows * (height + below) / (width + GAP) + 0.5), layout="constrained"
    )
    axes = figure.subplots()
    axes.imshow(grid, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return figure, axes
