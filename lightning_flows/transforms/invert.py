"""The inverse of a transform."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from lightning_flows.errors import UsageError
from lightning_flows.transforms.base import Shape, Transform


class Invert(Transform):
    r"""The inverse of a transform as a transform: :math:`z = f^{-1}(x)`.

    Useful where the cheap direction of a layer should be the one that samples. Only for layers that keep the shape.
    """

    def __init__(self, transform: Transform) -> None:
        super().__init__(transform.latent_shape)
        self.transform = transform
        self.volume_preserving = transform.volume_preserving

    def forward(self, x: Tensor, context: Any = None) -> tuple[Tensor, Tensor | float]:
        return self.transform.inverse(x, context)

    def inverse(self, z: Tensor, context: Any = None) -> tuple[Tensor, Tensor | float]:
        return self.transform(z, context)

    def forward_reported(self, x: Tensor, context: Any = None) -> tuple[Tensor, Tensor, list[NamedTuple]]:
        return self.transform.inverse_reported(x, context)

    def inverse_reported(self, z: Tensor, context: Any = None) -> tuple[Tensor, Tensor, list[NamedTuple]]:
        return self.transform.forward_reported(z, context)

    @property
    def latent_shape(self) -> Shape | None:
        return self.transform.event_shape

    def output_shape(self, event_shape: Sequence[int]) -> tuple[int, ...]:
        if self.transform.output_shape(event_shape) != tuple(event_shape):
            raise UsageError(f"expected a transform that keeps the shape; got {type(self.transform).__name__}")
        return tuple(event_shape)

    def extra_repr(self) -> str:
        return ""  # the transform shows its shape
