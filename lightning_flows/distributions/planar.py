"""Densities in the plane whose values and entropies are known."""

import math
from abc import ABC, abstractmethod
from functools import cached_property

import torch
from torch import Tensor

from lightning_flows.errors import DataError, ShapeError

CHUNK = 2**20  # values in memory at once, of 8 bytes each
LOG_2PI = math.log(2 * math.pi)
REACH = 7.0  # scales beyond which a density is neglected


class PlanarDensity(ABC):
    """A density in the plane.

    Args:
        scale: length within which it varies little, such as the standard deviation of the noise of each point.
        half_width: without that noise, all points are within this distance of the origin in x and y.
    """

    def __init__(self, scale: float, half_width: float) -> None:
        self.scale, self.half_width = scale, half_width

    @abstractmethod
    def sample(self, num: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``(num, 2)`` in float32."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Exact log-density ``(B,)`` of points ``(B, 2)``, in nats and float64, on their device. Raises: ShapeError."""
        if x.ndim != 2 or x.shape[1] != 2:
            raise ShapeError(f"expected points of shape (B, 2); got {tuple(x.shape)}")
        parts = x.detach().cpu().double().split(self._at_once)
        return torch.cat([self._log_prob(part) for part in parts]).to(x.device)

    @cached_property
    def entropy(self) -> float:
        r"""Entropy in nats, :math:`-\int p \log p`, by the trapezoidal rule on a grid with a step of half the scale.

        The rule converges exponentially for densities as smooth as these; its error is below 1e-6.
        """
        reach, step = self.half_width + REACH * self.scale, self.scale / 2
        line = torch.arange(-reach, reach + step, step, dtype=torch.float64)
        density = self._on_grid(line)
        return -torch.xlogy(density, density).sum().item() * step**2

    _at_once = CHUNK

    @abstractmethod
    def _log_prob(self, x: Tensor) -> Tensor:
        """The same for points in float64 on the CPU, at most ``_at_once`` of them."""

    @abstractmethod
    def _on_grid(self, line: Tensor) -> Tensor:
        """The density ``(G, G)`` at all x and y in ``line``, perhaps after a map that preserves areas."""


class Mixture(PlanarDensity):
    r"""Gaussian noise around centers :math:`c_i` with weights w.

    .. math:: p(x) = \sum_i w_i\,\mathcal N(x; c_i, \sigma^2 I)

    Args:
        centers: ``(M, 2)``, float64.
        weights: ``(M,)``, which sum to 1.
        noise: standard deviation σ, from 0.03 to 1.

    Raises: DataError for another noise.
    """

    def __init__(self, centers: Tensor, weights: Tensor, noise: float) -> None:
        check_noise(noise)
        super().__init__(noise, centers.abs().max().item())
        self.centers, self.log_weights = centers, weights.log()
        self._at_once = max(1, CHUNK // len(centers))

    def sample(self, num: int, *, generator: torch.Generator | None = None) -> Tensor:
        return noisy(self.centers[choose(self.log_weights.exp(), num, generator)], self.scale, generator)

    def _log_prob(self, x: Tensor) -> Tensor:
        squares = (x[:, 0, None] - self.centers[:, 0]).square() + (x[:, 1, None] - self.centers[:, 1]).square()
        normal = -0.5 * squares / self.scale**2 - LOG_2PI - 2 * math.log(self.scale)
        return (normal + self.log_weights).logsumexp(1)

    def _on_grid(self, line: Tensor) -> Tensor:
        x, y = (torch.exp(-0.5 * ((line[:, None] - each) / self.scale).square()) for each in self.centers.unbind(1))
        return x * self.log_weights.exp() @ y.T / (2 * math.pi * self.scale**2)


def check_noise(noise: float) -> None:
    """Raise DataError unless ``noise`` is from 0.03 to 1."""
    if not 0.03 <= noise <= 1:
        raise DataError(f"expected noise from 0.03 to 1; got {noise}")


def choose(weights: Tensor, num: int, generator: torch.Generator | None) -> Tensor:
    """Draw ``num`` indices with probabilities ``weights``, float64."""
    uniform = torch.rand(num, dtype=torch.float64, generator=generator)
    return torch.searchsorted(weights.cumsum(0)[:-1], uniform, right=True)


def on_circle(angles: Tensor) -> Tensor:
    """Points of the unit circle, ``(...) -> (..., 2)``."""
    return torch.stack([angles.cos(), angles.sin()], -1)


def noisy(points: Tensor, noise: float, generator: torch.Generator | None) -> Tensor:
    """Add Gaussian noise to points ``(num, 2)``; float32."""
    return (points + noise * torch.randn(points.shape, dtype=torch.float64, generator=generator)).float()
