"""One transform after the other."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from lightning_flows.transforms.base import Transform, zero_log_det


class Compose(Transform):
    r"""Composition :math:`z = f_n(\dots f_1(x))`; log-determinants add up.

    Shapes: x ``(B, *event)``; z as the last transform gives it; log_det ``(B,)`` in nats.
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        super().__init__()
        self.transforms = nn.ModuleList(transforms)

    def forward(self, x: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        """Apply first to last."""
        log_det = zero_log_det(x)
        for transform in self.transforms:
            x, step = transform(x, context)
            log_det = log_det + step
        return x, log_det

    def inverse(self, z: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        """Undo last to first."""
        log_det = zero_log_det(z)
        for transform in reversed(self.transforms):
            z, step = transform.inverse(z, context)
            log_det = log_det + step
        return z, log_det

    def output_shape(self, event_shape: Sequence[int]) -> tuple[int, ...]:
        """Shape after the last transform."""
        for transform in self.transforms:
            event_shape = transform.output_shape(event_shape)
        return tuple(event_shape)
