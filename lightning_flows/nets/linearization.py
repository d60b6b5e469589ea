"""Functions at a point: their value, and products with their Jacobian there."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Linearization(NamedTuple):
    """A function g at a point x, with Jacobian J.

    ``pull(v)`` is Jᵀv. ``product(s, v)`` has the event sum sᵀJv, whose gradient reaches x and the parameters; s and v
    are constants. Shapes: all as x.
    """

    value: Tensor
    pull: Callable[[Tensor], Tensor]
    product: Callable[[Tensor, Tensor], Tensor]


def linearize(function: Callable[..., Any], x: Tensor, *, series: bool = False) -> Linearization:
    """Linearize a bound function, by its own method if it has one; ``series``: what ``pull`` returns has a graph."""
    if hasattr(function, "linearize") and not series:
        result: Linearization = function.linearize(x)
        return result
    with torch.enable_grad():  # products need derivatives even without a gradient
        point = x.clone() if x.requires_grad else x.clone().requires_grad_()  # an inverse's x has its own hook
        value = function(point)

    def pull(v: Tensor, create_graph: bool = series) -> Tensor:
        return torch.autograd.grad(value, point, v, retain_graph=True, create_graph=create_graph)[0]

    return Linearization(value, pull, lambda s, v: pull(s, True) * v)
