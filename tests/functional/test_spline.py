import math

import pytest
import torch

from lightning_flows.functional.spline import BOUND, inverse_spline, num_spline_parameters, spline

BINS = 4


def draw(num: int = 500, noise: float = 1.0, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """Values inside and outside the knots, and parameters for each of them."""
    y = 3 * torch.randn(num, dtype=torch.float64)
    return y.to(dtype), (noise * torch.randn(num_spline_parameters(BINS), num, dtype=torch.float64)).to(dtype)


def test_zero_parameters_are_the_identity():
    y, values = draw(noise=0)
    z, log_slope = spline(y, values)
    torch.testing.assert_close(z, y, rtol=0, atol=1e-14)
    assert log_slope.abs().max() < 1e-14


def test_shift_and_scale_come_before_the_spline():
    y, values = draw(noise=0)
    values[0], values[1] = 0.5, 1e9  # the bound of the scale
    z, log_slope = spline(y, values)
    torch.testing.assert_close(z, (y - 0.5) * math.exp(4), rtol=0, atol=1e-11)
    assert log_slope == pytest.approx(torch.full_like(y, 4).numpy())


def test_the_spline_passes_through_its_knots_with_their_slopes():
    """In one variable: evenly spaced knots, of which the heights and slopes are set."""
    heights, slopes = torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([0.5, 1.0, 2.0, 0.7, 3.0])
    values = torch.zeros(num_spline_parameters(BINS), 5, dtype=torch.float64)
    shares = (heights - 1e-2) / (1 - BINS * 1e-2)  # without the smallest share
    values[2 + BINS : 2 + 2 * BINS] = shares.log()[:, None]
    values[2 + 2 * BINS :] = (torch.expm1(slopes - 1e-2).log() - math.log(math.expm1(1 - 1e-2)))[:, None]
    z, log_slope = spline(torch.linspace(-BOUND, BOUND, 5, dtype=torch.float64), values)
    expected = 2 * BOUND * torch.tensor([0, 0.1, 0.3, 0.6, 1.0]) - BOUND
    torch.testing.assert_close(z, expected.double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(log_slope.exp(), slopes.double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("noise", [1.0, 3.0])
def test_inverse(noise):
    y, values = draw(noise=noise)
    z, log_slope = spline(y, values)
    back, inverse_log_slope = inverse_spline(z, values)
    torch.testing.assert_close(back, y, rtol=0, atol=1e-8)
    torch.testing.assert_close(inverse_log_slope, -log_slope, rtol=0, atol=1e-6)
    order = y.argsort()
    shared = values[:, :1].expand_as(values)
    assert (spline(y[order], shared)[0].diff() > 0).all()  # it increases, across knots and outside


def test_the_inverse_in_float32_decodes_to_the_same_latent():
    y, values = draw(20_000, noise=2.0, dtype=torch.float32)
    z, _ = spline(y, values)
    back, _ = inverse_spline(z, values)
    error = (spline(back, values)[0] - z).abs() / z.abs().clamp(min=1)
    assert error.max() < 1e-3  # without the exact t at the ends, 1
    assert error.median() < 1e-6


@pytest.mark.parametrize("function", [spline, inverse_spline])
def test_gradients(function):
    y, values = draw(12)
    assert torch.autograd.gradcheck(function, (y.requires_grad_(), values.requires_grad_()))
    z, log_slope = function(y, values)
    (slope,) = torch.autograd.grad(z.sum(), y)
    torch.testing.assert_close(log_slope.exp(), slope, rtol=1e-9, atol=0)


@pytest.mark.parametrize("value", [-1e30, 1e30])
def test_values_far_away_are_linear(value):
    _, values = draw(5, dtype=torch.float32)
    z, log_slope = spline(torch.full((5,), value), values)
    torch.testing.assert_close(z, torch.full((5,), value) * log_slope.exp(), rtol=1e-4, atol=0)
