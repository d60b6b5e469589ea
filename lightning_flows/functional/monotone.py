"""Solutions of equations with increasing functions of one variable."""

from collections.abc import Callable

import torch
from torch import Tensor

MAX_ITER = 200


@torch.no_grad()
def solve_increasing(
    function: Callable[[Tensor], tuple[Tensor, Tensor]], target: Tensor, low: Tensor, high: Tensor
) -> Tensor:
    """Solve f(y) = target by Newton steps inside a shrinking bracket; a step that would leave it becomes a bisection.

    ``function`` returns f(y) and f'(y). Shapes: all equal. Every solution must be between ``low`` and ``high``.

    >>> y = solve_increasing(lambda y: (y**3, 3 * y**2), torch.tensor([8.0]), torch.zeros(1), torch.full((1,), 9.0))
    >>> round(y.item(), 4)
    2.0
    """
    y = (low + high) / 2
    for i in range(MAX_ITER):
        value, slope = function(y)
        low, high = torch.where(value <= target, y, low), torch.where(value >= target, y, high)
        step = y - (value - target) / slope
        # where the slope varies, Newton steps may be tiny, so every third step halves the bracket
        inside = (step > low) & (step < high) & (i % 3 < 2)
        following = torch.where(inside, step, (low + high) / 2)
        done = (following - y).abs() <= torch.finfo(y.dtype).eps * (1 + y.abs())
        y = following
        if done.all():
            break
    return y
