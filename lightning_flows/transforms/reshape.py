"""The same values in another shape."""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lightning_flows.errors import ShapeError, UsageError
from lightning_flows.functional.graphs import Graph
from lightning_flows.transforms.base import Shape, Transform


class Reshape(Transform):
    """Events of one shape to events of another, in row-major order; log-determinant 0.

    Raises: UsageError if the shapes hold other numbers of values; ShapeError for other events, or graphs with padding,
    which has no place in another shape.
    """

    volume_preserving = True

    def __init__(self, before: Sequence[int], after: Sequence[int]) -> None:
        if math.prod(before) != math.prod(after):
            raise UsageError(f"expected shapes of as many values; got {tuple(before)} and {tuple(after)}")
        super().__init__(before)
        self.after = tuple(after)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return self.after

    def check(self, x: Tensor, context: Any, shape: Shape | None) -> None:
        super().check(x, context, shape)
        if isinstance(context, Graph) and context.mask is not None:
            raise ShapeError(
                "expected graphs of one size, as this flow sees all nodes as one vector; got a mask: leave sizes out "
                "or use a flow that is equivariant"
            )

    def forward(self, x: Tensor, context: Any = None) -> tuple[Tensor, float]:
        return x.reshape(len(x), *self.after), 0.0

    def inverse(self, z: Tensor, context: Any = None) -> tuple[Tensor, float]:
        return z.reshape(len(z), *self.event_shape), 0.0

    def output_shape(self, event_shape: Sequence[int]) -> tuple[int, ...]:
        return self.after

    def extra_repr(self) -> str:
        return f"{self.event_shape} -> {self.after}"
