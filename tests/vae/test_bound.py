"""Bound and importance-weighted likelihood, compared with an integral over two latents."""

import math

import pytest
import torch
from torch import Tensor

from lightning_flows.functional.philox import streams
from lightning_flows.vae import VAE
from tests.vae.cases import POSTERIORS, images, small_vae


@torch.no_grad()
def exact(vae: VAE, x: Tensor, num: int = 121, width: float = 8.0) -> Tensor:
    """log ∫ P(x | z) p(z) dz ``(B,)`` by the trapezoidal rule on a grid, whose error is that of round-off."""
    axis = torch.linspace(-width, width, num, dtype=torch.float64)
    z = torch.cartesian_prod(axis, axis)
    prior = -0.5 * z.square().sum(1) - math.log(2 * math.pi) + 2 * math.log(2 * width / (num - 1))
    logits = vae.decoder(z)
    log_prob = [vae.likelihood.log_prob(logits, each.expand(len(z), -1, -1, -1)) for each in x]
    return torch.stack([(each + prior).logsumexp(0) for each in log_prob])


@pytest.mark.parametrize(("name", "num_levels"), [*((name, 2) for name in POSTERIORS), ("diagonal", 3)])
def test_bound_is_below_the_likelihood_which_is_exact(name: str, num_levels: int) -> None:
    vae, x = small_vae(name, num_levels), images(num_levels=num_levels)
    truth = exact(vae, x)
    torch.testing.assert_close(truth, exact(vae, x, num=81), rtol=0, atol=1e-8)
    found = vae.importance_sample(x, 3000, noise=streams(0, "test", range(len(x))), chunk_size=3000)
    assert (found.bound < found.log_likelihood).all()  # each bound is a mean of the same log-weights
    assert (truth - found.bound).max() > 0.2
    deviations = (found.log_likelihood - truth) / found.error
    assert found.error.max() < 0.1
    assert deviations.abs().max() < 4
    assert abs(deviations.mean()) < 4 / len(x) ** 0.5
    one_draw = vae.importance_sample(x, 1, noise=streams(0, "test", range(len(x)))).bound
    assert (one_draw != found.bound).all()


def test_the_kl_term_of_a_diagonal_posterior_is_the_closed_form() -> None:
    vae, x = small_vae(), images()
    mean, std, _ = vae.encode(x)
    found = vae.importance_sample(x, 5000, noise=streams(0, "test", range(len(x)))).means[0]
    expected = 0.5 * (mean.square() + std.square() - 1 - 2 * std.log()).sum(1)
    torch.testing.assert_close(found, expected.detach(), rtol=0.05, atol=0.05)
