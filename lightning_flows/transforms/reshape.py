"""Reshaping of events."""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lightning_flows.errors import ShapeError, UsageError
from lightning_flows.functional.graphs import Graph
from lightning_flows.transforms.base import Result, Shape, Transform


class Reshape(Transform):
    r"""Reshape events in row-major order: :math:`\operatorname{vec} z = \operatorname{vec} x`, log-determinant 0.

    Shapes: x ``(B, *before)``, z ``(B, *after)``.
    Raises: UsageError if the shapes differ in size; ShapeError for graphs with padding, which reshaping would mix
    with values.

    >>> import torch
    >>> Reshape((4,), (2, 2))(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    (tensor([[[1., 2.],
             [3., 4.]]]), tensor([0.]))
    """

    volume_preserving = True

    def __init__(self, before: Sequence[int], after: Sequence[int]) -> None:
        super().__init__(before)
        self.before, self.after = tuple(before), tuple(after)
        if math.prod(before) != math.prod(after):
            raise UsageError(f"expected shapes of equal size; got {self.before} and {self.after}")

    def forward(self, x: Tensor, context: Any = None) -> Result:
        return x.reshape(x.shape[0], *self.after), 0.0

    def inverse(self, z: Tensor, context: Any = None) -> Result:
        return z.reshape(z.shape[0], *self.before), 0.0

    @property
    def latent_shape(self) -> Shape:
        return self.after

    def output_shape(self, event_shape: Sequence[int]) -> tuple[int, ...]:
        return self.after

    def check(self, x: Tensor, context: Any, shape: Shape | None) -> None:
        super().check(x, context, shape)
        if isinstance(context, Graph) and context.mask is not None:
            raise ShapeError(
                "expected graphs of one size, since this flow treats nodes as one vector; got a mask: remove sizes or "
                "use an equivariant flow"
            )

    def extra_repr(self) -> str:
        return f"{self.before} -> {self.after}"
