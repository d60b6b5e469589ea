"""Jacobians and directional derivatives by autograd and by finite differences."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.autograd.functional import jacobian

MAX_VALUES = 1024
"""Values of an item up to which Jacobians are computed: a backward pass for each."""


def jacobians(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The Jacobian of each item by autograd: ``(B, *event)`` to ``(B, D', D)``."""
    return jacobian(lambda value: function(value).flatten(1).sum(0), x).transpose(0, 1).flatten(2)


def jacobians_of(z: Tensor, x: Tensor) -> Tensor:
    """The Jacobian of each item of z, computed from x already, with respect to that of x: ``(B, D', D)``."""
    sums = z.flatten(1).sum(0)
    rows = [torch.autograd.grad(each, x, retain_graph=True, materialize_grads=True)[0].flatten(1) for each in sums]
    return torch.stack(rows, 1)


def depends_on_others(z: Tensor, x: Tensor) -> bool:
    """Whether the first item of z depends on other items of x, or a derivative does not exist."""
    gradient = torch.autograd.grad(z[0].sin().sum(), x, retain_graph=True, materialize_grads=True)[0]
    return bool(gradient[1:].count_nonzero()) or not bool(gradient.isfinite().all())


def log_abs_dets(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """log|det J| of each item: ``(B,)`` in nats.

    >>> log_abs_dets(lambda x: x.exp(), torch.tensor([[1.0, 2.0]]))
    tensor([3.])
    """
    return torch.linalg.slogdet(jacobians(function, x)).logabsdet


def slopes(
    function: Callable[[], Sequence[Tensor]], values: Sequence[Tensor], directions: Sequence[Tensor], step: float = 1e-6
) -> list[float]:
    r"""Central differences of the function's scalars as ``values`` move in place, which end where they began.

    .. math:: \big(f(v + hd) - f(v - hd)\big) / 2h
    """
    starts = [value.detach().clone() for value in values]

    def at(offset: float) -> list[float]:
        for value, start, direction in zip(values, starts, directions, strict=True):
            value.copy_(start + offset * direction)
        return [float(result) for result in function()]

    with torch.no_grad():
        ahead, behind = at(step), at(-step)
        at(0.0)
    return [(one - other) / (2 * step) for one, other in zip(ahead, behind, strict=True)]
