"""The same values in another shape."""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lightning_flows.errors import ShapeError, UsageError
from lightning_flows.functional.graphs import Graph
from lightning_flows.transforms.base import Transform, check_floating, zero_log_det


class Reshape(Transform):
    """Events of one shape to events of another, in row-major order; log-determinant 0.

    Raises: UsageError if the shapes hold other numbers of values; ShapeError for other events, or graphs with padding,
    which has no place in another shape.
    """

    def __init__(self, before: Sequence[int], after: Sequence[int]) -> None:
        super().__init__()
        if math.prod(before) != math.prod(after):
            raise UsageError(f"expected shapes of as many values; got {tuple(before)} and {tuple(after)}")
        self.before, self.after = tuple(before), tuple(after)

    def forward(self, x: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        """Reshape."""
        return self._reshape(x, context, self.before, self.after), zero_log_det(x)

    def inverse(self, z: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        """Shape as before."""
        return self._reshape(z, context, self.after, self.before), zero_log_det(z)

    def output_shape(self, event_shape: Sequence[int]) -> tuple[int, ...]:
        """The shape after."""
        return self.after

    def _reshape(self, x: Tensor, context: Any, before: tuple[int, ...], after: tuple[int, ...]) -> Tensor:
        check_floating(x)
        if isinstance(context, Graph) and context.mask is not None:
            raise ShapeError(
                "expected graphs of one size, as this flow sees all nodes as one vector; got a mask: leave sizes out "
                "or use a flow that is equivariant"
            )
        if x.shape[1:] != before:
            raise ShapeError(f"expected events of shape {before}; got {tuple(x.shape[1:])}")
        return x.reshape(len(x), *after)
