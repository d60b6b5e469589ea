"""The contract of dequantisations."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Dequantization(nn.Module, ABC):
    """Noise q(u | x) on [0, 1) that turns a density of x + u into a bound on the probability of x."""

    @abstractmethod
    def sample(self, x: Tensor, *, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draw u ``(B, C, H, W)`` in [0, 1) for pictures x (uint8), with log q(u | x) ``(B,)`` in nats."""
