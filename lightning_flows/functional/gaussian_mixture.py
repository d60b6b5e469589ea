"""Monotone maps of values to a standard normal, by the distribution function of a Gaussian mixture."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lightning_flows.functional.monotone import solve_increasing

WIDE_WEIGHT, WIDE_SCALE = 1e-6, 4.0
"""A fixed wide component next to the learned ones: it bounds the latents of values far from all of them."""
LOG_SCALE_BOUND = 5.0


class Mixture(NamedTuple):
    """Weights, means and log-scales ``(K, ...)`` of the learned components."""

    weights: Tensor
    means: Tensor
    log_scales: Tensor


def mixture_of(values: Tensor) -> Mixture:
    r"""The learned components for unconstrained values ``(3K, ...)``: logits, means and log-scales a.

    The weights sum to one minus that of the fixed wide component; log-scales are bounded by b tanh(a/b) with b = 5.
    """
    logits, means, scales = values.chunk(3)
    weights = torch.softmax(logits, dim=0) * (1 - WIDE_WEIGHT)
    return Mixture(weights, means, LOG_SCALE_BOUND * torch.tanh(scales / LOG_SCALE_BOUND))


def mixture_to_normal(y: Tensor, values: Tensor, *, dim: int = -1) -> tuple[Tensor, Tensor]:
    r"""Map each value to the normal value of equal cumulative probability.

    .. math:: z = \Phi^{-1}\Big(\sum_k \pi_k\,\Phi\big((y-\mu_k)/\sigma_k\big)\Big), \qquad
              \log z' = \log \sum_k \pi_k\,\mathcal N(y; \mu_k, \sigma_k^2) - \log \mathcal N(z; 0, 1)

    Values drawn from the mixture become exactly normal. Both tails are resolved: the smaller of the probabilities below
    and above y is inverted. The derivatives are explicit, and are not differentiable again.

    Shapes: y, z, log z' ``(...)``; values ``(..., 3K)``, or with their 3K unconstrained parameters along another
    ``dim``, 0 being the fastest; see :func:`mixture_of`. Source: Ho et al., Flow++, 2019, with Gaussians.

    >>> z, log_derivative = mixture_to_normal(torch.tensor([0.5]), torch.zeros(1, 3))
    >>> bool((z - 0.5).abs() < 1e-4), bool(log_derivative.abs() < 1e-4)
    (True, True)
    """
    z, log_slope, *_ = _ToNormal.apply(*_broadcast(y, values.movedim(dim, 0)))
    return z, log_slope


def _broadcast(y: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Expand y ``(...)`` and values ``(3K, ...)`` against each other."""
    shape = torch.broadcast_shapes(y.shape, values.shape[1:])
    missing = [1] * (len(shape) - values.ndim + 1)
    return y.expand(shape), values.reshape(values.shape[0], *missing, *values.shape[1:]).expand(-1, *shape)


def _evaluate(y: Tensor, mixture: Mixture) -> tuple[Tensor, ...]:
    """z and log z', the half of y; and for each component its share of the density at y, P, u and 1/σ.

    u is (y − μ)/σ. Up to about the median of the mixture, the half is 1 and P the probability below y; from there on,
    it is −1 and P the probability above y. It is 0 where z is clamped.
    """
    weights, means, log_scales = mixture
    inverse = torch.exp(-log_scales)
    u = (y - means) * inverse
    wide = y / WIDE_SCALE
    # Φ by erfc, which resolves small probabilities as torch's ndtr does not; Φ⁻¹ in float64 for the same reason
    half = (0.5 * WIDE_WEIGHT) * torch.erfc(wide.abs() * 0.5**0.5)
    outer, negative = torch.erfc(u.abs() * 0.5**0.5).mul_(0.5), u < 0  # at most 1/2
    inner = 1 - outer
    in_lower_half = (weights * torch.where(negative, outer, inner)).sum(0) < 0.5
    probabilities = torch.where(negative == in_lower_half, outer, inner)
    half = torch.where((wide < 0) == in_lower_half, half, WIDE_WEIGHT - half)
    smaller, tiny = (weights * probabilities).sum(0) + half, torch.finfo(y.dtype).tiny
    sign = in_lower_half.to(y.dtype).mul_(2).sub_(1)
    z = torch.special.ndtri(smaller.clamp(min=tiny).double()).to(y.dtype) * sign
    log_parts = torch.addcmul(weights.log() - log_scales, u, u, value=-0.5)
    log_wide = math.log(WIDE_WEIGHT / WIDE_SCALE) - wide.square() / 2
    largest = torch.maximum(log_parts.amax(0), log_wide)
    parts = (log_parts - largest).exp_()
    total = parts.sum(0) + (log_wide - largest).exp()
    shares = parts.div_(total)
    log_density = largest + total.log()
    return z, log_density + z.square() / 2, sign * (smaller > tiny), shares, probabilities, u, inverse


class _ToNormal(torch.autograd.Function):
    r"""z and log z' with explicit derivatives; r are the shares of components in the density, P their probabilities.

    .. math:: dz = z' \sum_k r_k (dy - d\mu_k - u_k\, d\sigma_k) \pm \sum_k P_k\, d\pi_k / \varphi(z), \qquad
              d \log z' = z\, dz - \sum_k r_k \big(u_k (dy - d\mu_k) + (1 - u_k^2)\, d\sigma_k\big)/\sigma_k
                          + \sum_k r_k\, d\pi_k/\pi_k
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(y: Tensor, values: Tensor) -> tuple[Tensor, ...]:
        mixture = mixture_of(values)
        return *_evaluate(y, mixture), mixture.weights, mixture.log_scales

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(*output[2:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(inputs[0], *output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        y, z, log_slope, half, shares, probabilities, u, inverse, weights, log_scales = ctx.saved_tensors
        of_z, of_slope = (torch.zeros_like(z) if grad is None else grad for grad in grads[:2])
        along = torch.addcmul(of_z, of_slope, z) * half.abs()
        along_y = along * log_slope.exp()
        bent = shares * u
        of_means = torch.addcmul(-shares * along_y, bent * inverse, of_slope)
        of_y = -of_means.sum(0) + (1 - shares.sum(0)) * (along_y - of_slope * y / WIDE_SCALE**2)
        of_scales = (u / inverse).mul_(of_means).sub_(shares * of_slope)
        of_scales *= 1 - (log_scales / LOG_SCALE_BOUND).square()
        # d of the logits: π (P − mean P) and r − π (sum of r), of weights that sum to 1 − WIDE_WEIGHT
        scale = along * half * (0.5 * z.square()).exp() * math.sqrt(2 * math.pi)
        of_weights = torch.addcmul(shares * of_slope, weights * probabilities, scale)
        of_logits = of_weights - weights * (of_weights.sum(0) / (1 - WIDE_WEIGHT))
        return of_y, torch.cat([of_logits, of_means, of_scales])


@torch.no_grad()
def _solve(z: Tensor, values: Tensor) -> Tensor:
    """Solve for y between values at which all components have passed z."""
    mixture = mixture_of(values)
    # at this distance from all means each component by itself has passed z
    reach = (z.abs() + 1) * mixture.log_scales.exp()
    wide = (z.abs() + 1) * WIDE_SCALE
    low = torch.minimum((mixture.means - reach).amin(0), -wide)
    high = torch.maximum((mixture.means + reach).amax(0), wide)

    def function(y: Tensor) -> tuple[Tensor, Tensor]:
        value, log_slope, *_ = _evaluate(y, mixture)
        return value, log_slope.exp()

    return solve_increasing(function, z, low, high)


def mixture_from_normal(z: Tensor, values: Tensor, *, dim: int = -1) -> tuple[Tensor, Tensor]:
    """Inverse of :func:`mixture_to_normal`: y and the log-derivative of the inverse; differentiable in both arguments.

    Shapes: z, y, log y' ``(...)``; values ``(..., 3K)``, or with their parameters along another ``dim``.
    """
    z, values = _broadcast(z, values.movedim(dim, 0))
    y = _solve(z, values)
    if torch.is_grad_enabled():
        # one Newton step with a graph, at the solution: its derivative is that of the inverse
        value, log_slope = mixture_to_normal(y, values, dim=0)
        y = y - (value - z) * torch.exp(-log_slope.detach())
    return y, -mixture_to_normal(y, values, dim=0)[1]
