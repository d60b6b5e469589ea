"""Composition."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from lightning_flows.transforms.base import Shape, Transform


class Compose(Transform):
    r"""Composition :math:`z = f_n(\dots f_1(x))`; log-determinants add up.

    Shapes: x ``(B, *event)``; z as the last transform returns it; log_det ``(B,)`` in nats.
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        super().__init__(transforms[0].event_shape if transforms else None)
        self.transforms = nn.ModuleList(transforms)
        self.volume_preserving = all(transform.volume_preserving for transform in transforms)

    def forward(self, x: Tensor, context: Any = None) -> tuple[Tensor, Tensor | float]:
        total: Tensor | float = 0.0
        for transform in self.transforms:
            x, log_det = transform(x, context)
            total = total if transform.volume_preserving else total + log_det
        return x, total

    def inverse(self, z: Tensor, context: Any = None) -> tuple[Tensor, Tensor | float]:
        total: Tensor | float = 0.0
        for transform in reversed(self.transforms):
            z, log_det = transform.inverse(z, context)
            total = total if transform.volume_preserving else total + log_det
        return z, total

    def decode(self, z: Tensor, context: Any = None) -> Tensor:
        for transform in reversed(self.transforms):
            z = transform.decode(z, context)
        return z

    def forward_reported(self, x: Tensor, context: Any = None) -> tuple[Tensor, Tensor | float, list[NamedTuple]]:
        return _reported((transform.forward_reported for transform in self.transforms), x, context)

    def inverse_reported(self, z: Tensor, context: Any = None) -> tuple[Tensor, Tensor | float, list[NamedTuple]]:
        return _reported((transform.inverse_reported for transform in reversed(self.transforms)), z, context)

    @property
    def latent_shape(self) -> Shape | None:
        return self.transforms[-1].latent_shape if len(self.transforms) else None

    def output_shape(self, event_shape: Sequence[int]) -> tuple[int, ...]:
        for transform in self.transforms:
            event_shape = transform.output_shape(event_shape)
        return tuple(event_shape)

    def extra_repr(self) -> str:
        return ""  # the first transform shows the shape


def _reported(steps: Iterable[Any], x: Tensor, context: Any) -> tuple[Tensor, Tensor | float, list[NamedTuple]]:
    total: Tensor | float = 0.0
    reports: list[NamedTuple] = []
    for step in steps:
        x, log_det, found = step(x, context)
        total = total + log_det
        reports += found
    return x, total, reports
