"""Planar layers."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_flows.errors import check_sizes
from lightning_flows.functional.monotone import solve_increasing
from lightning_flows.functional.precision import full_precision
from lightning_flows.nets.values import Values
from lightning_flows.transforms.base import Result, Transform


class Planar(Transform):
    r"""Move points along one direction, by a function of another.

    .. math:: z = x + \hat u \tanh(w^T x + b), \qquad
              \log|\det J| = \log\big(1 + w^T \hat u\,(1 - \tanh^2(w^T x + b))\big), \qquad
              \hat u = u + \big(\operatorname{softplus}(w^T u) - 1 - w^T u\big) \frac{w}{\|w\|^2}

    so that :math:`w^T \hat u > -1`, and the map is invertible: :math:`w^T z` is an increasing function of
    :math:`w^T x`, which the inverse solves by bisection and Newton steps.

    Shapes: x, z ``(B, size)``; if ``amortized``, the context ``(B, 2 * size + 1)`` contains u, w and b of each sample.
    Raises: UsageError if ``size`` is below 1.
    Source: Rezende and Mohamed, Variational inference with normalizing flows, 2015, section 4.1 and appendix A.

    >>> layer = Planar(2, amortized=True)
    >>> u_w_b = torch.tensor([[2.0, 0.0, 0.0, 1.0, 0.0]])  # u = (2, 0), w = (0, 1), b = 0
    >>> layer(torch.tensor([[0.0, 1.0], [0.0, 2.0]]), u_w_b.expand(2, 5))
    (tensor([[1.5232, 0.7663],
            [1.9281, 1.7042]]), tensor([-0.1380, -0.0219]))
    """

    def __init__(self, size: int, *, amortized: bool = False) -> None:
        check_sizes(size=size)
        super().__init__((size,))
        u, w = torch.randn(2, size) / size**0.5
        self.values = Values(amortized, u=0.1 * u, w=w, b=torch.zeros(1))
        self.num_parameters = self.values.num_parameters

    def forward(self, x: Tensor, context: Any = None) -> Result:
        with full_precision(x):
            u, w, b, slope = self._evaluated(context)
            h = torch.tanh((x * w).sum(1, keepdim=True) + b)
            return x + u * h, torch.log1p(slope * (1 - h * h)).sum(1)

    def inverse(self, z: Tensor, context: Any = None) -> Result:
        with full_precision(z):
            u, w, b, slope = self._evaluated(context)
            target = (z * w).sum(1, keepdim=True)
            reach = slope.detach().abs().expand_as(target)

            def function(y: Tensor) -> tuple[Tensor, Tensor]:
                h = torch.tanh(y + b)
                return y + slope * h, 1 + slope * (1 - h * h)

            y = solve_increasing(function, target, target - reach, target + reach)
            if torch.is_grad_enabled():  # one Newton step with a graph has the derivative of the inverse
                value, derivative = function(y)
                y = y - (value - target) / derivative.detach()
            h = torch.tanh(y + b)
            return z - u * h, -torch.log1p(slope * (1 - h * h)).sum(1)

    def _evaluated(self, context: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """û, w, b and the largest slope wᵀû, each with a dimension of samples."""
        u, w, b = (value if self.num_parameters else value[None] for value in self.values(context))
        along = (w * u).sum(1, keepdim=True)
        slope = F.softplus(along) - 1
        squared = w.square().sum(1, keepdim=True).clamp(min=torch.finfo(w.dtype).tiny)
        return u + (slope - along) * w / squared, w, b, slope
