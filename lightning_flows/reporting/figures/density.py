"""Densities in the plane: data, samples and what a flow learned."""

from collections.abc import Callable

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

GRID = 200
"""Cells per side of the grid on which a density is drawn."""
AT_ONCE = 4096
BRIGHTEST = 0.03  # share of the mass that is drawn in the brightest color: narrow peaks do not dim the rest
INK, MAP = "#3b0f70", "magma"
"""Color of points, one of the map's, and the color map of the density."""
MARGIN, MAX_RATIO = 0.1, 1.5
"""Space around the points, relative to the longer side, and the largest ratio of the sides."""
PANEL = 3.3
"""Width of a panel in inches."""


def density_figure(data: Tensor, samples: Tensor, log_prob: Callable[[Tensor], Tensor]) -> Figure:
    """Points of data and of samples, and the learned density, all on the same axes.

    Shapes: data, samples ``(N, 2)``; ``log_prob`` maps points ``(B, 2)`` to ``(B,)``, in nats. Points that are not
    finite, or outside of the axes, are not drawn.
    """
    limits = around(data)
    width, height = (limits[:, 1] - limits[:, 0]).tolist()
    figure = Figure(figsize=(PANEL * 3, 0.98 * PANEL * height / width + 0.36), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for axes, points, title in ((left, data, "data"), (middle, samples, "samples")):
        _scatter(axes, points)
        axes.set_title(title)
    density = grid_log_prob(log_prob, limits).exp()
    extent = [float(value) for value in limits.flatten()]
    falling = density.nan_to_num().flatten().sort(descending=True).values
    brightest = falling[(falling.cumsum(0) < BRIGHTEST * falling.sum()).sum()].item() or None
    right.imshow(density, extent=extent, origin="lower", cmap=MAP, vmin=0, vmax=brightest, interpolation="bilinear")
    right.set_title("density")
    for axes in figure.axes:
        axes.set(xlim=extent[:2], ylim=extent[2:], aspect="equal", xticks=[], yticks=[])
        axes.spines[:].set_color("0.8")
    return figure


@torch.no_grad()
def grid_log_prob(log_prob: Callable[[Tensor], Tensor], limits: Tensor, size: int = GRID) -> Tensor:
    """Log-density at the centers of size x size cells of a rectangle ``[[x0, x1], [y0, y1]]``, one row per y."""
    steps = (torch.arange(size) + 0.5) / size
    x, y = (low + steps * (high - low) for low, high in limits)
    points = torch.cartesian_prod(y, x).flip(1)
    return torch.cat([log_prob(part).cpu() for part in points.split(AT_ONCE)]).view(size, size)


def around(points: Tensor) -> Tensor:
    """A rectangle ``[[x0, x1], [y0, y1]]`` with a margin around almost all points, regardless of outliers.

    The longer side is at most 1.5 times the shorter.
    """
    points = finite(points).double()
    if not len(points):
        points = torch.zeros(1, 2, dtype=torch.float64)
    low, high = points.quantile(0.002, dim=0), points.quantile(0.998, dim=0)
    extent = high - low
    half = (0.5 * extent + MARGIN * extent.max()).clamp(min=1e-6)
    half = torch.maximum(half, half.max() / MAX_RATIO)
    middle = (low + high) / 2
    return torch.stack([middle - half, middle + half], 1).float()


def _scatter(axes: Axes, points: Tensor) -> None:
    points = finite(points)
    axes.scatter(points[:, 0], points[:, 1], s=3, alpha=0.35, color=INK, linewidths=0, rasterized=True)


def finite(points: Tensor) -> Tensor:
    """Points whose values are finite, on the host."""
    points = points.detach().cpu()
    return points[points.isfinite().all(1)]
