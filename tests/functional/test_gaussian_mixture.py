import math

import pytest
import torch

from lightning_flows.functional.gaussian_mixture import (
    WIDE_SCALE,
    mixture_from_normal,
    mixture_parameters,
    mixture_to_normal,
)


@pytest.fixture
def values():
    """Parameters of 50 mixtures of four overlapping components."""
    generator = torch.Generator().manual_seed(0)
    logits, means, scales = torch.randn(3, 50, 4, generator=generator, dtype=torch.float64)
    return torch.cat([logits, means, 0.3 * scales], dim=-1)


def test_density_is_that_of_the_mixture(values):
    y = torch.randn(50, dtype=torch.float64)
    z, log_derivative = mixture_to_normal(y, values)
    log_weights, means, log_scales = mixture_parameters(values.T)
    expected = (log_weights + torch.distributions.Normal(means, log_scales.exp()).log_prob(y)).logsumexp(0)
    normal = -0.5 * (z.square() + math.log(2 * math.pi))
    torch.testing.assert_close(normal + log_derivative, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(log_weights.exp().sum(0), torch.ones(50, dtype=torch.float64))
    for found, other in zip(mixture_to_normal(y, values.T, dim=0), (z, log_derivative), strict=True):
        assert torch.equal(found, other)


def test_parameters_of_a_mixture():
    raw = torch.tensor([0.0, 0.0, 1.5, -2.0, 0.25, 1e3], dtype=torch.float64)  # logits, means, log-scales of two
    log_weights, means, log_scales = mixture_parameters(raw)
    assert log_weights[0] == log_weights[1]
    assert log_weights.exp().sum().item() == pytest.approx(1, abs=1e-12)
    assert means.tolist() == [1.5, -2.0, 0.0]
    assert log_scales[:2].tolist() == pytest.approx([5 * math.tanh(0.25 / 5), 5.0], abs=1e-12)


def test_log_derivative_is_the_derivative(values):
    y = torch.randn(50, dtype=torch.float64, requires_grad=True)
    z, log_derivative = mixture_to_normal(y, values)
    (slope,) = torch.autograd.grad(z.sum(), y)
    torch.testing.assert_close(log_derivative.exp(), slope, rtol=1e-10, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_round_trip_in_both_tails(values, dtype):
    z = torch.linspace(-5, 5, 50, dtype=dtype)
    y, log_derivative = mixture_from_normal(z, values.to(dtype))
    back, forward = mixture_to_normal(y, values.to(dtype))
    tol = 1e-9 if dtype == torch.float64 else 2e-4
    torch.testing.assert_close(back, z, rtol=0, atol=tol)
    torch.testing.assert_close(forward, -log_derivative, rtol=0, atol=10 * tol)


def test_inverse_between_narrow_components_far_apart():
    """Where the map is nearly a step, the inverse still finds both sides."""
    values = torch.tensor([0.0, 0.0, -1.5, 1.5, -4.0, -4.0], dtype=torch.float64).expand(4, -1)
    y = torch.tensor([-1.52, -1.48, 1.48, 1.52], dtype=torch.float64)
    back, _ = mixture_from_normal(mixture_to_normal(y, values)[0], values)
    torch.testing.assert_close(back, y, rtol=0, atol=1e-9)


def test_values_far_from_all_components_stay_finite():
    values = torch.tensor([0.0, 0.0, -1.0])  # broadcast
    z, log_derivative = mixture_to_normal(torch.tensor([-30.0, 30.0]), values)
    assert z.isfinite().all()
    assert log_derivative.isfinite().all()
    assert z[0] < -5
    assert z[1] > 5


def test_gradients_of_the_inverse(values):
    z = torch.linspace(-2, 2, 5, dtype=torch.float64, requires_grad=True)
    inputs = z, values[:5].clone().requires_grad_()
    assert torch.autograd.gradcheck(mixture_from_normal, inputs)
    assert torch.autograd.gradgradcheck(mixture_from_normal, inputs)


@pytest.mark.parametrize("dim", [0, -1])
@pytest.mark.parametrize("y", [-6.0, -1.0, 0.3, 6.0])
def test_first_and_second_derivatives(values, dim, y):
    """Also in both tails, where the distribution function is 0 or 1 to round-off."""
    y = torch.full((5,), y, dtype=torch.float64, requires_grad=True)
    parameters = values[:5].movedim(-1, dim).clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda y, v: mixture_to_normal(y, v, dim=dim), (y, parameters))
    assert torch.autograd.gradgradcheck(lambda y, v: mixture_to_normal(y, v, dim=dim), (y, parameters))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_derivatives_stay_finite_beyond_the_smallest_probability(dtype):
    """z is constant there, and its derivative zero; that of log z' is that of the density."""
    y = torch.tensor([-400.0, 400.0], dtype=dtype, requires_grad=True)
    values = torch.tensor([0.0, -90.0, 0.0, 1.0, -1.0, 0.0], dtype=dtype).expand(2, -1).clone().requires_grad_()
    z, log_slope = mixture_to_normal(y, values)
    of_z = torch.autograd.grad(z.sum(), (y, values), retain_graph=True)
    of_slope = torch.autograd.grad(log_slope.sum(), (y, values))
    assert not any(grad.any() for grad in of_z)
    assert all(grad.isfinite().all() for grad in of_slope)
    torch.testing.assert_close(of_slope[0], -y.detach() / WIDE_SCALE**2, rtol=1e-5, atol=0)
