"""Shifts and scales of the whole event."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_flows.errors import UsageError
from lightning_flows.transforms.base import Transform


class Affine(Transform):
    r"""Normalize by two fixed numbers.

    .. math:: z = (x - b)/s, \qquad \log|\det J| = -D \log s

    Pixels of 0 to 256 are brought near the unit interval by ``Affine(shift=128, scale=256)``.
    Shapes: any ``(B, *event)`` with D values an event; log_det ``(B,)`` in nats. Raises: UsageError if s ≤ 0.
    """

    def __init__(self, shift: float, scale: float) -> None:
        super().__init__()
        if scale <= 0:
            raise UsageError(f"expected a positive scale; got {scale}")
        self.shift, self.scale = shift, scale

    def forward(self, x: Tensor, context: Any = None) -> tuple[Tensor, float]:
        return (x - self.shift) / self.scale, -self._log_volume(x)

    def inverse(self, z: Tensor, context: Any = None) -> tuple[Tensor, float]:
        return z * self.scale + self.shift, self._log_volume(z)

    def _log_volume(self, x: Tensor) -> float:
        return math.prod(x.shape[1:]) * math.log(self.scale)

    def extra_repr(self) -> str:
        return f"shift={self.shift}, scale={self.scale}"


class Bias(Transform):
    """Add a learned value at each place: z = x + b, log-determinant 0.

    Axes of length one in ``event_shape`` share their value: ``(C, 1, 1)`` is a bias per channel.
    Shapes: x, z ``(B, *event_shape)``, shared axes of any length.
    """

    volume_preserving = True

    def __init__(self, event_shape: Sequence[int]) -> None:
        super().__init__([n if n != 1 else None for n in event_shape])
        self.bias = nn.Parameter(torch.zeros(*event_shape))

    def forward(self, x: Tensor, context: Any = None) -> tuple[Tensor, float]:
        return x + self.bias, 0.0

    def inverse(self, z: Tensor, context: Any = None) -> tuple[Tensor, float]:
        return z - self.bias, 0.0
