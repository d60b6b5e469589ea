"""Monotone maps of values to a standard normal, by the distribution function of a Gaussian mixture."""

import math

import torch
from torch import Tensor

from lightning_flows.functional.monotone import soft_clamp, solve_increasing
from lightning_flows.functional.shapes import parameters_first

WIDE_WEIGHT, WIDE_SCALE = 1e-6, 4.0
"""A fixed wide component next to the learned ones: it bounds the latents of values far from all of them."""
LOG_SCALE_BOUND = 5.0


def mixture_parameters(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""Log-weights, means and log-scales ``(K+1, ...)`` from unconstrained values ``(3K, ...)``.

    .. math:: \sum_k e^{\text{log-weight}_k} = 1, \qquad \text{log-scale} = b \tanh(a/b), \quad b = 5

    The fixed wide component is the last.

    >>> log_weights, means, log_scales = mixture_parameters(torch.tensor([0.0, 0.0, -1.0, 1.0, 0.0, 0.0]))
    >>> log_weights.exp(), means, log_scales.exp()
    (tensor([5.0000e-01, 5.0000e-01, 1.0000e-06]), tensor([-1.,  1.,  0.]), tensor([1., 1., 4.]))
    """
    logits, means, scales = values.chunk(3)
    log_weights = torch.log_softmax(logits, dim=0) + math.log1p(-WIDE_WEIGHT)
    scales = soft_clamp(scales, LOG_SCALE_BOUND)
    row = logits[:1]
    return (
        torch.cat([log_weights, torch.full_like(row, math.log(WIDE_WEIGHT))]),
        torch.cat([means, torch.zeros_like(row)]),
        torch.cat([scales, torch.full_like(row, math.log(WIDE_SCALE))]),
    )


def mixture_to_normal(y: Tensor, values: Tensor, *, dim: int = -1) -> tuple[Tensor, Tensor]:
    r"""Map each value to the normal value of equal cumulative probability.

    .. math:: z = \Phi^{-1}\Big(\sum_k \pi_k\,\Phi\big((y-\mu_k)/\sigma_k\big)\Big), \qquad
              \log z' = \log \sum_k \pi_k\,\mathcal N(y; \mu_k, \sigma_k^2) - \log \mathcal N(z; 0, 1)

    Values drawn from the mixture become exactly normal. Both tails are resolved: the smaller of the probabilities below
    and above y is inverted.

    Shapes: y, z, log z' ``(...)``; values ``(..., 3K)``, or with their 3K unconstrained parameters along another
    ``dim``, 0 being the fastest; see :func:`mixture_parameters`. Source: Ho et al., Flow++, 2019, with Gaussians.

    >>> z, log_derivative = mixture_to_normal(torch.tensor([0.5]), torch.zeros(1, 3))
    >>> bool((z - 0.5).abs() < 1e-4), bool(log_derivative.abs() < 1e-4)
    (True, True)
    """
    log_weights, means, log_scales = mixture_parameters(parameters_first(values, y, dim))
    u = (y - means) * torch.exp(-log_scales)
    weights = log_weights.exp()
    with torch.no_grad():  # which half of the mixture y is in: 1 is the lower one
        sign = 1 - 2 * ((weights * torch.erf(u * 0.5**0.5)).sum(0) > 0).to(y.dtype)
    # Φ by erfc, which resolves small probabilities as torch's ndtr does not; Φ⁻¹ in float64 for the same reason
    smaller = (weights * torch.erfc(u * sign * -(0.5**0.5))).sum(0) / 2
    z = torch.special.ndtri(smaller.clamp(min=torch.finfo(y.dtype).tiny).double()).to(y.dtype) * sign
    log_density = torch.logsumexp(torch.addcmul(log_weights - log_scales, u, u, value=-0.5), dim=0)
    return z, log_density + z.square() / 2


def mixture_from_normal(z: Tensor, values: Tensor, *, dim: int = -1) -> tuple[Tensor, Tensor]:
    r"""Inverse of :func:`mixture_to_normal`: :math:`y = F^{-1}(\Phi(z))` and the log-derivative of the inverse.

    Both are twice differentiable in both arguments.

    Shapes: z, y, log y' ``(...)``; values ``(..., 3K)``, or with their parameters along another ``dim``.

    >>> z, values = torch.tensor([-1.0, 0.0, 2.0]), torch.randn(3, 12)  # four components each
    >>> y, log_derivative = mixture_from_normal(z, values)
    >>> torch.allclose(mixture_to_normal(y, values)[0], z, atol=1e-4)
    True
    """
    y = mixture_quantile(z, values, dim=dim)
    if torch.is_grad_enabled():
        # at the solution, the first derivative of one Newton step is that of the inverse, and the second that of two
        for _ in range(2):
            value, log_slope = mixture_to_normal(y, values, dim=dim)
            y = y - (value - z) * torch.exp(-log_slope)
    return y, -mixture_to_normal(y, values, dim=dim)[1]


@torch.no_grad()
def mixture_quantile(z: Tensor, values: Tensor, *, dim: int = -1) -> Tensor:
    r"""The y of :func:`mixture_from_normal` alone, without derivatives.

    It solves for y by the logarithm of the smaller of the probabilities below and above it. With s the sign of z,
    :math:`-s \log \sum_k \pi_k\,\Phi(s(\mu_k-y)/\sigma_k) = -s \log \Phi(-sz)` increases in y.

    Shapes: as :func:`mixture_from_normal`.

    >>> z, values = torch.tensor([-1.0, 0.0, 2.0]), torch.randn(3, 12)
    >>> torch.allclose(mixture_quantile(z, values), mixture_from_normal(z, values)[0], atol=1e-5)
    True
    """
    values = parameters_first(values, z, dim)
    log_weights, means, log_scales = mixture_parameters(values)
    weights, scales = log_weights.exp(), log_scales.exp()
    # at this distance from all means each component by itself has passed z
    reach = (z.abs() + 1) * scales
    low, high = (means - reach).amin(0), (means + reach).amax(0)
    sign = torch.where(z < 0, -1.0, 1.0).to(z.dtype)
    argument, rates = sign * 0.5**0.5 / scales, weights / scales
    rates = rates * (2 / math.pi) ** 0.5

    def function(y: Tensor) -> tuple[Tensor, Tensor]:
        u = (y - means) * argument
        twice = (weights * torch.erfc(u)).sum(0)
        return -sign * torch.log(twice), (rates * torch.exp(-u * u)).sum(0) / twice

    target = -sign * (torch.special.log_ndtr(-z.abs()) + math.log(2))
    return solve_increasing(function, target, low, high, start=(weights * (means + scales * z)).sum(0))
