"""Tests that samples follow a density, with a bound on the probability of a false alarm."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lightning_flows.functional.streams import stream
from lightning_flows.testing.compare import SINGLE, number
from lightning_flows.testing.faults import Found
from lightning_flows.testing.quadrature import Grid

WAVES = 64
"""Number of waves whose means are compared."""
FREQUENCIES = (0.1, 0.3, 1.0, 2.0)
"""Standard deviations of the waves' frequencies, per deviation of the data: low ones, of single values, see means."""

TINY = 1e-300
"""Mass of a grid that misses the density; the error of integrals is then so large that all samples pass."""


def waves(values: Tensor, like: Tensor) -> Tensor:
    r"""Bounded functions ``(N, 64)`` of values ``(N, *event)``: :math:`\cos(\omega_k \cdot (x - c)/s + \varphi_k)`.

    ω is normal or, if it is low, along an axis; φ is uniform; c and s are means and standard deviations of ``like``,
    which must not contain the samples that are tested. All are the same in each call.
    """
    points, phases = _angles(values, like)[:2]
    return torch.cos(points + phases)


def _angles(values: Tensor, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    generator, flat = stream(0, "waves of samples"), like.flatten(1)
    scale = flat.std(0).clamp_min(1e-3)
    dims, kinds = flat.shape[1], torch.arange(WAVES) % len(FREQUENCIES)
    frequencies = torch.randn(dims, WAVES, generator=generator, dtype=flat.dtype) / dims**0.5
    axes = torch.arange(WAVES) // len(FREQUENCIES) % dims
    along = torch.zeros_like(frequencies).index_put_((axes, torch.arange(WAVES)), torch.ones(()).to(flat.dtype))
    frequencies = torch.where(kinds < 2, along, frequencies)  # a wave of many values would hide the mean of one
    frequencies = frequencies * torch.tensor(FREQUENCIES, dtype=flat.dtype)[kinds] / scale[:, None]
    phases = 2 * math.pi * torch.rand(WAVES, generator=generator, dtype=flat.dtype)
    return (values.flatten(1) - flat.mean(0)) @ frequencies, phases, frequencies


def check_means(samples: Tensor, grid: Grid, masses: Tensor, like: Tensor, error: float, false_alarm: float) -> None:
    r"""Means of waves over n samples match their integrals; for one or two values.

    By Bernstein's inequality and a union bound over K waves of variance σ², the probability that any mean of a correct
    sampler deviates by more than

    .. math:: \sqrt{2 \sigma_k^2 L / n} + \tfrac{4 L}{3 n}, \qquad L = \log(2K / \text{false\_alarm})

    is at most ``false_alarm``. The error of the integrals is added.
    """
    weights, functions = masses / masses.sum().clamp_min(TINY), waves(grid.points, like)
    expected = weights @ functions
    variances = weights @ functions.square() - expected.square()
    log = math.log(2 * WAVES / false_alarm)
    limits = (2 * variances.clamp_min(0) * log / len(samples)).sqrt() + 4 * log / (3 * len(samples)) + 2 * error
    what = f"{len(samples)} samples do not follow log_prob"
    _check(waves(samples, like).mean(0), expected, limits, what, false_alarm)


def check_stein(log_prob: Callable[[Tensor], Tensor], samples: Tensor, like: Tensor, false_alarm: float) -> None:
    r"""Stein's identity of waves in a direction u, for any number of values.

    .. math:: \mathbb E\big[\cos(\omega \cdot x + \varphi)\; u \cdot \nabla \log p(x)
              - \sin(\omega \cdot x + \varphi)\; u \cdot \omega\big] = 0

    The mean over many samples is approximately normal; its deviation from 0, in standard errors, is compared with the
    quantile at which the waves together have a probability of ``false_alarm``.
    Source: Stein, 1972; Liu, Lee and Jordan, A kernelized Stein discrepancy, 2016.
    """
    x = samples.detach().requires_grad_()
    with torch.enable_grad():
        scores = torch.autograd.grad(log_prob(x).sum(), x)[0].flatten(1)
    with torch.no_grad():
        angles, phases, frequencies = _angles(samples, like)
        directions = frequencies / frequencies.norm(dim=0)
        terms = torch.cos(angles + phases) * (scores @ directions)
        terms = terms - torch.sin(angles + phases) * (frequencies * directions).sum(0)
        errors = terms.std(0) / len(terms) ** 0.5
        tail = torch.tensor(false_alarm / (2 * WAVES), dtype=torch.float64)
        quantile = -torch.distributions.Normal(0, 1).icdf(tail)
        what = f"{len(terms)} samples do not follow log_prob"
        _check(terms.mean(0), torch.zeros_like(errors), quantile * errors, what, false_alarm)


def check_same(samples: Tensor, others: Tensor, like: Tensor, what: str, false_alarm: float) -> None:
    r"""Means of waves over n samples match those over n independent ones of the same distribution, whatever it is.

    Differences d of pairs are then symmetric: given their magnitudes, their signs are random. By Hoeffding's inequality
    and a union bound over K waves, the probability that the mean of any wave's differences deviates by more than

    .. math:: \sqrt{2 \overline{d^2} L / n}, \qquad L = \log(2K / \text{false\_alarm})

    is at most ``false_alarm``. Round-off is added, for values that are the same in all samples.
    """
    one, other = waves(samples, like), waves(others, like)
    log = math.log(2 * WAVES / false_alarm)
    limits = (2 * (one - other).square().mean(0) * log / len(one)).sqrt() + SINGLE
    _check(one.mean(0), other.mean(0), limits, f"{len(one)} samples {what}", false_alarm)


def _check(found: Tensor, expected: Tensor, limits: Tensor, what: str, false_alarm: float) -> None:
    excess = (found - expected).abs() / limits
    worst = excess.argmax()
    if not excess.max() <= 1:
        raise Found(
            f"{what}: the mean of a wave is {number(found[worst])} instead of "
            f"{number(expected[worst])} ± {number(limits[worst])} (false alarms: at most {false_alarm:g})"
        )
