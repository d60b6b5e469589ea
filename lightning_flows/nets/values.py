"""Parameters of a layer: its own, or one set per sample."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Values(nn.Module):
    r"""Named parameters that belong to the layer or, if ``amortized``, are given per sample by the context.

    Calling it with the context returns the values in the order of their names: each of its own shape, or
    ``(B, *shape)`` if they are amortized; see :func:`multiply`.

    Args:
        amortized: whether the context, ``(B, num_parameters)``, contains them, one flattened value after another.
        initial: initial values, by name.

    >>> Values(True, weight=torch.zeros(2, 3), bias=torch.zeros(2)).num_parameters
    8
    """

    def __init__(self, amortized: bool, **initial: Tensor) -> None:
        super().__init__()
        self.shapes = {name: value.shape for name, value in initial.items()}
        self.num_parameters = sum(value.numel() for value in initial.values()) if amortized else 0
        for name, value in ({} if amortized else initial).items():
            self.register_parameter(name, nn.Parameter(value))

    def forward(self, context: Any) -> list[Tensor]:
        if not self.num_parameters:
            return [getattr(self, name) for name in self.shapes]
        parts = split_context(context, [shape.numel() for shape in self.shapes.values()])
        return [part.reshape(-1, *shape) for part, shape in zip(parts, self.shapes.values(), strict=True)]

    def extra_repr(self) -> str:
        shapes = ", ".join(f"{name}={tuple(shape)}" for name, shape in self.shapes.items())
        return f"{shapes}, amortized={bool(self.num_parameters)}"


def split_context(context: Any, sizes: Sequence[int]) -> list[Any]:
    """Split a context ``(B, n)`` into parts of these sizes, with None for those of size 0."""
    parts = iter(context.split([size for size in sizes if size], dim=1)) if any(sizes) else iter(())
    return [next(parts) if size else None for size in sizes]


def multiply(matrix: Tensor, x: Tensor) -> Tensor:
    """Multiply vectors x ``(B, n)`` by a matrix ``(m, n)``, or by one ``(B, m, n)`` per sample: ``(B, m)``."""
    return F.linear(x, matrix) if matrix.ndim == 2 else torch.bmm(matrix, x[:, :, None])[:, :, 0]
