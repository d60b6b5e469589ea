"""Activation normalization of images."""

from typing import Any

import torch
from torch import Tensor

from lightning_flows.transforms.actnorm import DataInitialized


class ActNorm(DataInitialized):
    r"""Shift and scale each channel; initialized by the first training batch to zero mean and unit variance.

    .. math:: z_c = (x_c - b_c)\,e^{-s_c}, \qquad \log|\det J| = -HW \sum_c s_c

    For the initialization see :class:`DataInitialized`. Shapes: x, z ``(B, C, H, W)``; log_det ``(B,)`` in nats.
    Source: Kingma and Dhariwal, Glow, 2018, section 3.1.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, (channels, None, None))

    def forward(self, x: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        self.initialize(x, dim=1)
        z = (x - self.shift[:, None, None]) * torch.exp(-self.log_scale)[:, None, None]
        return z, -self._log_volume(x)

    def inverse(self, z: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        x = z * torch.exp(self.log_scale)[:, None, None] + self.shift[:, None, None]
        return x, self._log_volume(z)

    def _log_volume(self, x: Tensor) -> Tensor:
        return x.shape[2] * x.shape[3] * self.log_scale.sum()
