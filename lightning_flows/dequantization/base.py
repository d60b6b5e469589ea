"""The contract of dequantizations."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from lightning_flows.functional.recorded import Recorded


class Dequantization(Recorded, nn.Module, ABC):
    """Noise q(u | x) on [0, 1) that turns a density of x + u into a bound on the probability of x.

    A draw has three parts, so that each is done as often as it must be: :meth:`context`, once an image;
    :meth:`draw_noise`, which knows nothing of the image; and :meth:`transform`, once a draw.
    """

    def context(self, x: Tensor) -> Tensor | None:
        """What q needs of images x ``(B, C, H, W)`` in uint8, or None if it needs nothing."""
        return None

    @abstractmethod
    def draw_noise(self, x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Noise for images of x's shape, whatever their values: ``(B, *noise_shape)``."""

    @abstractmethod
    def transform(self, noise: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Turn noise into u ``(B, C, H, W)`` in [0, 1), with log q(u | x) ``(B,)`` in nats."""

    def sample(self, x: Tensor, *, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draw u ``(B, C, H, W)`` in [0, 1) for images x (uint8), with log q(u | x) ``(B,)`` in nats."""
        return self.transform(self.draw_noise(x, generator=generator), self.context(x))
