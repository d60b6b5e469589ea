"""Gaussian base densities."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_flows.errors import ShapeError


def standard_normal_log_prob(z: Tensor) -> Tensor:
    """Log-density of a standard normal, summed over the event: ``(B, *event) -> (B,)`` in nats.

    >>> standard_normal_log_prob(torch.zeros(1, 2))
    tensor([-1.8379])
    """
    return -0.5 * (z.square() + math.log(2 * math.pi)).flatten(1).sum(1)


class DiagonalGaussian(nn.Module):
    r"""Independent normals with a learned mean and scale for each channel.

    .. math:: \log p(z) = \sum_i \log \mathcal N\big((z_i - \mu_{c(i)})\,e^{-s_{c(i)}}\big) - s_{c(i)}

    Shapes: z ``(B, *event_shape)`` with the channels first; log_prob ``(B,)`` in nats.
    """

    def __init__(self, event_shape: Sequence[int]) -> None:
        super().__init__()
        self.event_shape = tuple(event_shape)
        broadcast = (event_shape[0], *[1] * (len(event_shape) - 1))
        self.mean = nn.Parameter(torch.zeros(broadcast))
        self.log_scale = nn.Parameter(torch.zeros(broadcast))

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density ``(B,)`` in nats. Raises: ShapeError for other events."""
        if z.shape[1:] != self.event_shape:
            raise ShapeError(f"expected events of shape {self.event_shape}; got {tuple(z.shape[1:])}")
        log_volume = self.log_scale.sum() * math.prod(self.event_shape[1:])
        return standard_normal_log_prob(self.to_noise(z)) - log_volume

    def sample(self, num: int, *, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``(num, *event_shape)``; the scale is multiplied by ``temperature``."""
        noise = torch.randn(num, *self.event_shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype)
        return self.from_noise(temperature * noise)

    def from_noise(self, noise: Tensor) -> Tensor:
        """Shift and scale standard normal noise ``(B, *event_shape)``."""
        return self.mean + torch.exp(self.log_scale) * noise

    def to_noise(self, z: Tensor) -> Tensor:
        """The noise of z, which :meth:`from_noise` undoes."""
        return (z - self.mean) * torch.exp(-self.log_scale)
