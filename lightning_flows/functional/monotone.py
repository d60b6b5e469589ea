"""Increasing functions of one variable: a soft clamp, and a solver of equations with others."""

from collections.abc import Callable

import torch
from torch import Tensor

MAX_ITER = 200


def soft_clamp(x: Tensor, bound: float) -> Tensor:
    r"""Values between −bound and bound, with a slope of one at zero.

    .. math:: b \tanh(x / b)

    Shapes: any.

    >>> soft_clamp(torch.tensor([-100.0, 0.0, 0.1]), 2.0)
    tensor([-2.0000,  0.0000,  0.0999])
    """
    return bound * torch.tanh(x / bound)


@torch.no_grad()
def solve_increasing(
    function: Callable[[Tensor], tuple[Tensor, Tensor]],
    target: Tensor,
    low: Tensor,
    high: Tensor,
    *,
    start: Tensor | None = None,
) -> Tensor:
    r"""Solve f(y) = target by Newton steps, or by bisection where they would leave the bracket or shrink too slowly.

    .. math:: y \leftarrow y - \frac{f(y) - \text{target}}{f'(y)}

    Each step is at most half as long as the one before. ``function`` returns f(y) and f'(y). Shapes: all equal. Every
    solution must be between ``low`` and ``high``; the first y is ``start``, by default the midpoint.

    >>> y = solve_increasing(lambda y: (y**3, 3 * y**2), torch.tensor([8.0]), torch.zeros(1), torch.full((1,), 9.0))
    >>> round(y.item(), 4)
    2.0
    """
    y, step = (low + high) / 2 if start is None else start.clamp(low, high), high - low
    done = torch.zeros_like(y, dtype=torch.bool)  # a further step would only follow round-off, perhaps far away
    for _ in range(MAX_ITER):
        value, slope = function(y)
        low, high = torch.where(value <= target, y, low), torch.where(value >= target, y, high)
        newton, resolution = (target - value) / slope, 2 * torch.finfo(y.dtype).eps * (1 + y.abs())
        # False for NaN; steps as small as round-off need not shrink, and may leave the bracket
        inside = (y + newton >= low) & (y + newton <= high) & (newton.abs() <= step / 2)
        quick = inside | (newton.abs() <= resolution)
        following = torch.where(done, y, torch.where(quick, y + newton, (low + high) / 2))
        step, y = (following - y).abs(), following
        done |= step <= resolution
        if done.all():
            break
    return y
