"""Noisy points around curves in the plane, with densities by quadrature along the curves."""

import math
from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor

from lightning_flows.distributions.planar import Mixture, check_noise, choose, noisy

NODES_PER_NOISE = 2.2  # of a Gauss-Legendre rule, per standard deviation of arc length


class Curve(Mixture):
    r"""Gaussian noise around points that are distributed along curves c.

    .. math:: p(x) = \sum_a w_a \int_0^1 \mathcal N\big(x; c_a(s), \sigma^2 I\big)\, k s^{k-1}\, ds

    by Gauss-Legendre quadrature, with nodes so close that its relative error is below 1e-9 near the curves.

    Args:
        shares: weights w, one per curve, which sum to 1.
        speed: largest :math:`\|dc_a/ds\|`.
        noise: standard deviation σ, from 0.03 to 1.
        power: k, for points that become denser along the curve; 1 for a uniform parameter s.

    Raises: DataError for another noise.
    """

    def __init__(self, shares: tuple[float, ...], *, speed: float, noise: float, power: int = 1) -> None:
        check_noise(noise)
        nodes, weights = np.polynomial.legendre.leggauss(16 + math.ceil(NODES_PER_NOISE * speed / noise))
        s, ds = (torch.from_numpy(nodes) + 1) / 2, torch.from_numpy(weights) / 2
        self.shares, self.power = torch.tensor(shares, dtype=torch.float64), power
        centers = torch.cat([self.curve(torch.full(s.shape, arm), s) for arm in range(len(shares))])
        super().__init__(centers, (self.shares[:, None] * power * s ** (power - 1) * ds).flatten(), noise)

    def sample(self, num: int, *, generator: torch.Generator | None = None) -> Tensor:
        arm = choose(self.shares, num, generator)
        s = torch.rand(num, dtype=torch.float64, generator=generator) ** (1 / self.power)
        return noisy(self.curve(arm, s), self.scale, generator)

    @abstractmethod
    def curve(self, arm: Tensor, s: Tensor) -> Tensor:
        """Points ``(num, 2)`` of curves ``arm``, int64 ``(num,)``, at s in [0, 1], ``(num,)``."""
