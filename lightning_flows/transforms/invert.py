"""A transform the other way round."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lightning_flows.errors import UsageError
from lightning_flows.transforms.base import Transform


class Invert(Transform):
    r"""The inverse as a transform of its own: :math:`z = f^{-1}(x)`.

    Useful where the cheap direction of a layer should be the one that samples. Only for layers that keep the shape.
    """

    def __init__(self, transform: Transform) -> None:
        super().__init__()
        self.transform = transform

    def forward(self, x: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        """The wrapped transform's inverse."""
        return self.transform.inverse(x, context)

    def inverse(self, z: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        """The wrapped transform's forward map."""
        return self.transform(z, context)

    def output_shape(self, event_shape: Sequence[int]) -> tuple[int, ...]:
        """The same shape; ValueError if the wrapped transform changes it."""
        if self.transform.output_shape(event_shape) != tuple(event_shape):
            raise UsageError(f"expected a transform that keeps the shape; got {type(self.transform).__name__}")
        return tuple(event_shape)
