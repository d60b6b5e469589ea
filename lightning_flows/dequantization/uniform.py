"""Uniform dequantization."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_flows.dequantization.base import Dequantization


class UniformDequantization(Dequantization):
    """u uniform on [0, 1), so log q(u | x) = 0. Source: Theis, van den Oord and Bethge, 2016."""

    def __init__(self, event_shape: Sequence[int]) -> None:
        super().__init__()
        self.event_shape = tuple(event_shape)

    def draw_noise(self, x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw u."""
        return torch.rand(x.shape, generator=generator, device=x.device, dtype=torch.get_default_dtype())

    def transform(self, noise: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return u itself, and zeros."""
        return noise, torch.zeros(noise.shape[0], device=noise.device, dtype=noise.dtype)
