"""Base densities of flows."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_flows.errors import ShapeError
from lightning_flows.functional.graphs import COMPLETE, Graph, check_nodes
from lightning_flows.functional.shapes import check_shape


def standard_normal_log_prob(z: Tensor) -> Tensor:
    r"""Log-density of a standard normal, summed over the event: ``(B, *event) -> (B,)`` in nats.

    .. math:: \log \mathcal N(z; 0, I) = -\tfrac12 \sum_i \big(z_i^2 + \log 2\pi\big)

    >>> standard_normal_log_prob(torch.zeros(1, 2))
    tensor([-1.8379])
    """
    return -0.5 * (z.square() + math.log(2 * math.pi)).flatten(1).sum(1)


class Distribution(nn.Module, ABC):
    """Density :math:`p(z)` of the latents of a flow, or of the last of them; ``context`` is that of the flow, if any.

    Shapes: z ``(B, *event_shape)``; log_prob ``(B,)`` in nats.

    >>> class Uniform(Distribution):  # on the unit cube
    ...     def log_prob(self, z, context=None):
    ...         return torch.zeros(len(z))
    ...     def sample(self, num, context=None, *, temperature=1.0, generator=None):
    ...         return torch.rand(num, *self.event_shape, generator=generator)
    >>> Uniform((2,)).sample(3).shape
    torch.Size([3, 2])
    """

    def __init__(self, event_shape: Sequence[int]) -> None:
        super().__init__()
        check_shape(event_shape)
        self.event_shape = tuple(event_shape)

    @abstractmethod
    def log_prob(self, z: Tensor, context: Any = None) -> Tensor:
        """Log-density ``(B,)`` in nats."""

    @abstractmethod
    def sample(
        self, num: int, context: Any = None, *, temperature: float = 1.0, generator: torch.Generator | None = None
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


class DiagonalGaussian(Distribution):
    r"""Independent normal distributions with a learned mean and scale per channel.

    .. math:: \log p(z) = \sum_i \log \mathcal N\big((z_i - \mu_{c(i)})\,e^{-s_{c(i)}}\big) - s_{c(i)}

    Shapes: z ``(B, *event_shape)`` with the channels first; log_prob ``(B,)`` in nats.
    Raises: ShapeError for events of a different shape.

    >>> DiagonalGaussian((3, 8, 8))
    DiagonalGaussian((3, 8, 8))
    """

    def __init__(self, event_shape: Sequence[int]) -> None:
        super().__init__(event_shape)
        if not self.event_shape:
            raise ShapeError("expected an event_shape with at least one dimension; got ()")
        channels, *rest = self.event_shape
        self.mean = nn.Parameter(torch.zeros(channels, *[1] * len(rest)))
        self.log_scale = nn.Parameter(torch.zeros_like(self.mean))

    def log_prob(self, z: Tensor, context: Any = None) -> Tensor:
        if z.shape[1:] != self.event_shape:
            raise ShapeError(f"expected events of shape {self.event_shape}; got {tuple(z.shape[1:])}")
        log_volume = self.log_scale.sum() * math.prod(self.event_shape[1:])
        return standard_normal_log_prob(self.to_noise(z)) - log_volume

    def sample(
        self, num: int, context: Any = None, *, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        noise = torch.randn(num, *self.event_shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype)
        return self.from_noise(temperature * noise)

    def from_noise(self, noise: Tensor) -> Tensor:
        return self.mean + torch.exp(self.log_scale) * noise

    def to_noise(self, z: Tensor) -> Tensor:
        return (z - self.mean) * torch.exp(-self.log_scale)


class NodeGaussian(Distribution):
    r"""Standard normal distributions at the nodes that exist in a graph.

    .. math:: \log p(Z) = \sum_n \log \mathcal N(z_n; 0, I)

    Shapes: z ``(B, N, F)``, for any N; log_prob ``(B,)`` in nats; event_shape (N, F) is the shape of samples, which
    are 0 at padding.
    Raises: ShapeError if ``graph`` has a different number of nodes or samples.

    >>> graph = Graph(mask=torch.tensor([[True, True, False]]))  # two nodes and padding
    >>> NodeGaussian((3, 1)).log_prob(torch.zeros(1, 3, 1), graph) / standard_normal_log_prob(torch.zeros(1, 1))
    tensor([2.])
    """

    like: Tensor

    def __init__(self, event_shape: Sequence[int]) -> None:
        super().__init__(event_shape)
        self.register_buffer("like", torch.empty(0), persistent=False)  # dtype and device of samples

    def log_prob(self, z: Tensor, context: Graph | None = None) -> Tensor:
        weights = (context or COMPLETE).node_weights(z)
        return -0.5 * (weights * (z.square() + math.log(2 * math.pi)).sum(-1)).sum(1)

    def sample(
        self,
        num: int,
        context: Graph | None = None,
        *,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        noise = torch.randn(num, *self.event_shape, generator=generator, device=self.like.device, dtype=self.like.dtype)
        return temperature * noise * check_nodes(noise, noise.shape[2], context).node_weights(noise)[..., None]
