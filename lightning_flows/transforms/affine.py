"""Shifts and scales of the whole event."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_flows.errors import ShapeError, UsageError
from lightning_flows.transforms.base import Transform, check_floating, zero_log_det


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

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(x − b)/s."""
        check_floating(x)
        return (x - self.shift) / self.scale, zero_log_det(x) - self._log_volume(x)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undo: s z + b."""
        check_floating(z)
        return z * self.scale + self.shift, zero_log_det(z) + self._log_volume(z)

    def _log_volume(self, x: Tensor) -> float:
        return math.prod(x.shape[1:]) * math.log(self.scale)


class Bias(Transform):
    """Add a learned value at each place: z = x + b, log-determinant 0.

    Axes of length one in ``event_shape`` share their value: ``(C, 1, 1)`` is a bias for each channel.
    Shapes: x, z ``(B, *event_shape)``, the shared axes of any length. Raises: ShapeError for other events.
    """

    def __init__(self, event_shape: Sequence[int]) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(*event_shape))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Add b."""
        self._check(x)
        return x + self.bias, zero_log_det(x)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Subtract b."""
        self._check(z)
        return z - self.bias, zero_log_det(z)

    def _check(self, x: Tensor) -> None:
        check_floating(x)
        shape = self.bias.shape
        if x.ndim != 1 + len(shape) or any(n not in (1, m) for n, m in zip(shape, x.shape[1:], strict=True)):
            raise ShapeError(f"expected events of shape {tuple(shape)}; got {tuple(x.shape[1:])}")
