"""Integrals of densities over one or two values."""

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_flows.testing.compare import number
from lightning_flows.testing.faults import Found

START, FINEST = 161, {1: 40_961, 2: 1_281}
"""Points per axis of the first grid, and of the last by the number of axes."""
REACH = 6.0
"""Grids extend to sinh(6), about 200 times the scale of the data; most points are near its center."""


LOSS = math.log(10)
"""By how much a log-density may be smaller at all corners of a cell than at a point within, if the grid resolves it."""


class Grid(NamedTuple):
    """Points ``(N, *event)`` and the logarithms of their volumes ``(N,)``; coordinates of each value."""

    points: Tensor
    log_volumes: Tensor
    axes: list[Tensor]


def grid(x: Tensor, size: int, bounds: tuple[float, float] | None) -> Grid:
    r"""A grid of ``size`` points per value that is finest where x ``(B, *event)`` is.

    .. math:: x_i = c + s \sinh(t_i), \qquad v_i = s \cosh(t_i)\,\Delta t

    with t equally spaced in [−6, 6], and mean c and standard deviation s of each value of x. With ``bounds``, points
    are the centers of equal cells between them.
    """
    flat = x.flatten(1)
    axes, logs = [], []
    for values in flat.T:
        if bounds is None:
            t = torch.linspace(-REACH, REACH, size, dtype=flat.dtype)
            scale = values.std().clamp_min(1e-3)
            axes.append(values.mean() + scale * torch.sinh(t))
            logs.append(torch.log(scale * torch.cosh(t) * (t[1] - t[0])))
        else:
            cell = (bounds[1] - bounds[0]) / size
            axes.append(bounds[0] + cell * (torch.arange(size, dtype=flat.dtype) + 0.5))
            logs.append(torch.full_like(axes[-1], math.log(cell)))
    points = torch.cartesian_prod(*axes).reshape(-1, *x.shape[1:])
    return Grid(points, torch.cartesian_prod(*logs).reshape(len(points), -1).sum(1), axes)


def integrate(
    log_density: Callable[[Tensor], Tensor],
    like: Tensor,
    samples: Tensor,
    tolerance: float,
    bounds: tuple[float, float] | None,
) -> tuple[Grid, Tensor, float]:
    """The finest grid, the masses ``(N,)`` of its points, and the error of their sum.

    The error is the change of the last refinement plus the mass of samples that the grid misses, since two grids also
    agree if both miss a narrow mode. Grids are refined until it is at most a tenth of the tolerance.
    """

    def evaluated(x: Tensor) -> Tensor:
        return torch.cat([log_density(part) for part in x.split(20_000)])

    size, last, at_samples = START, math.inf, evaluated(samples)
    while True:
        used = grid(like, size, bounds)
        log_densities = evaluated(used.points)
        if log_densities.isnan().any():
            at = used.points[log_densities.isnan()][0].flatten().tolist()
            raise Found(f"the log-density is NaN at {[round(value, 3) for value in at]}")
        masses = torch.exp(log_densities.double() + used.log_volumes)
        total = float(masses.sum())
        error = abs(total - last) + _missed(samples, at_samples, used, log_densities)
        if error <= tolerance / 10 or 2 * size - 1 > FINEST[like[0].numel()]:
            return used, masses, error
        size, last = 2 * size - 1, total


def _missed(samples: Tensor, at_samples: Tensor, used: Grid, log_densities: Tensor) -> float:
    """Five standard errors above the fraction of samples whose density is much larger than at all corners around."""
    table = log_densities.reshape([len(axis) for axis in used.axes])
    values = samples.flatten(1).T.contiguous()
    above = [torch.searchsorted(axis, v).clamp(1, len(axis) - 1) for axis, v in zip(used.axes, values, strict=True)]
    corners = [table[index] for index in product(*((i - 1, i) for i in above))]
    count = int((at_samples > torch.stack(corners).amax(0) + LOSS).sum())
    return (count + 5 * math.sqrt(count)) / max(len(samples), 1)


def check_total(masses: Tensor, error: float, tolerance: float, dims: Sequence[int]) -> None:
    """Raise Found unless masses sum to one, give or take the quadrature's error."""
    total = float(masses.sum())
    if not abs(total - 1) <= tolerance + error:
        values = "a value" if math.prod(dims) == 1 else "two values"
        raise Found(f"the density of {values} integrates to {number(total)} instead of 1 (± {number(error)})")
