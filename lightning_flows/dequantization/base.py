"""The base class of dequantizations."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_flows.functional.recorded import Recorded

Generators = torch.Generator | Sequence[torch.Generator] | None
"""A generator for all images of a batch, or one per image; None means torch's global generator."""


class Dequantization(Recorded, nn.Module, ABC):
    """Noise q(u | x) on [0, 1) that turns a density of x + u into a bound on the probability of x.

    A draw consists of :meth:`context`, once per image; :meth:`draw_noise`, which does not depend on the image; and
    :meth:`transform`, once per draw.

    Args:
        event_shape: shape (C, H, W) of the images.
    """

    def __init__(self, event_shape: Sequence[int]) -> None:
        super().__init__()
        self.event_shape = self.noise_shape = tuple(event_shape)

    def context(self, x: Tensor) -> Tensor | None:
        """Encode uint8 images x ``(B, C, H, W)`` for q; None if q does not depend on them."""
        return None

    def draw_noise(self, num: int, generator: Generators = None, *, device: torch.device | None = None) -> Tensor:
        """Draw noise ``(num, *noise_shape)`` on the generator's device, by default on ``device``.

        With one generator per image, the noise of an image does not depend on the others in its batch.
        """
        if not isinstance(generator, Sequence):
            return self.noise(num, generator, device if generator is None else generator.device)
        if len(generator) != num:
            raise ValueError(f"expected one generator per image; got {len(generator)} for {num}")
        draws = [self.noise(1, each, each.device) for each in generator]
        return torch.cat(draws) if draws else self.noise(0, None, device)

    @abstractmethod
    def noise(self, num: int, generator: torch.Generator | None, device: torch.device | None) -> Tensor:
        """Draw ``(num, *noise_shape)`` from one generator."""

    @abstractmethod
    def transform(self, noise: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map noise to u ``(B, C, H, W)`` in [0, 1), with log q(u | x) ``(B,)`` in nats."""

    def sample(self, x: Tensor, *, generator: Generators = None) -> tuple[Tensor, Tensor]:
        """Draw u ``(B, C, H, W)`` in [0, 1) for uint8 images x, with log q(u | x) ``(B,)`` in nats."""
        noise = self.draw_noise(len(x), generator, device=x.device).to(x.device)
        return self.transform(noise, self.context(x))

    def extra_repr(self) -> str:
        return str(self.event_shape)
