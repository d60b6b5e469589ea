"""Images from a trained flow: samples, interpolations, and samples with their nearest training images."""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lightning_flows.errors import ShapeError
from lightning_flows.modules import ImageFlowModule, VAEModule
from lightning_flows.modules.base import Batch
from lightning_flows.reporting.figures.style import GAP, draw_tiles


class Neighbors(NamedTuple):
    """Samples uint8 ``(N, C, H, W)``, their K nearest images ``(N, K, C, H, W)`` and the distances ``(N, K)``."""

    samples: Tensor
    nearest: Tensor
    distances: Tensor


@torch.no_grad()
def interpolate(
    module: ImageFlowModule | VAEModule,
    first: Batch,
    second: Batch,
    num_steps: int = 9,
    progress: Callable[[Any], Iterable[Any]] = iter,
) -> Tensor:
    r"""Interpolate between images in the latent space, endpoints included.

    .. math:: x_t = f^{-1}\big(\cos(\tfrac{\pi t}{2})\, f(x_0) + \sin(\tfrac{\pi t}{2})\, f(x_1)\big),
              \qquad 0 \le t \le 1

    Latents are standardized by their prior. If they are independent and standard normal, so is each point of this path;
    the midpoint of a straight line would have too small a norm. For flows, images are dequantized with u = ½, and
    everything is computed in float64, so the endpoints equal the images; those of a VAE are reconstructions.
    ``progress`` wraps the steps, as :func:`lightning_flows.progress.progress` does.

    Shapes: batches of N images each, to uint8 ``(N, num_steps, C, H, W)``. Raises: ShapeError if the sizes differ.
    """
    sizes = module.batch_size_of(first), module.batch_size_of(second)
    if sizes[0] != sizes[1]:
        raise ShapeError(f"expected two batches of equal size; got {sizes[0]} and {sizes[1]} images")
    ends = [module.encode(batch, dtype=torch.float64) for batch in (first, second)]
    zeros, ones = (module.standardize([torch.full_like(z, value) for z in ends[0]]) for value in (0.0, 1.0))
    means = [zero / (zero - one) for zero, one in zip(zeros, ones, strict=True)]  # standardizing is affine
    steps = []
    for t in progress(torch.linspace(0, 1, num_steps, dtype=torch.float64).tolist()):
        near, far = math.cos(math.pi * t / 2), math.sin(math.pi * t / 2)
        latents = [near * z + far * w + (1 - near - far) * m for z, w, m in zip(*ends, means, strict=True)]
        values = module.decode(latents, first, dtype=torch.float64)
        steps.append(module.pixels(values))
    return torch.stack(steps, dim=1)


def nearest_images(samples: Tensor, images: Tensor, num: int = 5) -> Neighbors:
    r"""Find the images nearest to each sample, by the root mean square difference in pixel levels.

    .. math:: d(x, y) = \sqrt{\tfrac1D \textstyle\sum_i (x_i - y_i)^2}

    Shapes: samples uint8 ``(N, C, H, W)``, images uint8 ``(M, C, H, W)`` with M ≥ ``num``.
    """
    x, y = samples.flatten(1).float(), images.flatten(1).float()
    distances = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist") / math.sqrt(x.shape[1])
    values, indices = distances.topk(num, largest=False)
    return Neighbors(samples, images[indices], values)


def samples_figure(images: Tensor) -> Figure:
    """Samples uint8 ``(N, C, H, W)`` in a square grid."""
    columns = max(1, math.ceil(len(images) ** 0.5))
    figure, axes = _figure(columns, math.ceil(len(images) / columns))
    draw_tiles(axes, images, columns=columns)
    return figure


def interpolation_figure(images: Tensor) -> Figure:
    """Images uint8 ``(N, K, C, H, W)``: one row per pair, from the first image to the second."""
    rows, columns = images.shape[:2]
    figure, axes = _figure(columns, rows)
    across, down = draw_tiles(axes, images.flatten(0, 1), columns=columns)
    steps = [f"$t$ = {k / max(1, columns - 1):.3g}" for k in range(columns)]
    names = {0: "first image\n", columns - 1: "second image\n"}
    axes.set_xticks(across, [names.get(k, "") + step for k, step in enumerate(steps)], fontsize="small")
    axes.set_yticks(down, [f"pair {row + 1}" for row in range(rows)], fontsize="small")
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    return figure


def neighbors_figure(data: Neighbors) -> Figure:
    """One row per sample: the sample, then its nearest images with their distances in levels."""
    rows, num = data.distances.shape
    height = data.samples.shape[2]
    caption = round(0.3 * height) + GAP
    figure, axes = _figure(num + 1, rows * (1 + caption / height))
    tiles = torch.cat([data.samples[:, None], data.nearest], dim=1).flatten(0, 1)
    across, down = draw_tiles(axes, tiles, columns=num + 1, below=caption)
    axes.set_xticks([across[0], sum(across[1:]) / num], ["sample", "nearest images, with distance"])
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    for y, distances in zip(down, data.distances.tolist(), strict=True):
        for x, distance in zip(across[1:], distances, strict=True):
            axes.text(x, y + height / 2 + 1.5, f"{distance:.1f}", ha="center", va="top", fontsize="small")
    return figure


def _figure(columns: float, rows: float) -> tuple[Figure, Axes]:
    """A figure of square cells, with room for labels."""
    figure = Figure(figsize=(0.8 * columns + 0.5, 0.8 * rows + 0.6), layout="constrained")
    return figure, figure.subplots()
