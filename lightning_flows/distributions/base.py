"""The contract of base densities."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Distribution(nn.Module, ABC):
    """Density of the latents of a flow.

    Shapes: z ``(B, *event_shape)``; log_prob ``(B,)`` in nats. ``context`` is what the flow was given, if anything.
    """

    def __init__(self, event_shape: Sequence[int]) -> None:
        super().__init__()
        self.event_shape = tuple(event_shape)

    @abstractmethod
    def log_prob(self, z: Tensor, context: Any = None) -> Tensor:
        """Log-density ``(B,)`` in nats."""

    @abstractmethod
    def sample(
        self,
        num: int,
        context: Any = None,
        *,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw ``(num, *event_shape)``; ``temperature`` scales the noise."""

    def from_noise(self, noise: Tensor) -> Tensor:
        """Map standard normal noise ``(B, *event_shape)`` to latents; the identity by default."""
        return noise

    def to_noise(self, z: Tensor) -> Tensor:
        """Inverse of :meth:`from_noise`."""
        return z

    def extra_repr(self) -> str:
        return str(self.event_shape)
