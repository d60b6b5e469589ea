import math

import pytest
import torch

from lightning_flows.functional.monotone import soft_clamp, solve_increasing


def test_soft_clamp_is_bounded_and_close_to_the_identity_near_zero():
    x = torch.tensor([-1e6, -3.0, 1e-6, 3.0, 1e6], dtype=torch.float64)
    expected = torch.tensor([-2.0, -2 * math.tanh(1.5), 1e-6, 2 * math.tanh(1.5), 2.0], dtype=torch.float64)
    torch.testing.assert_close(soft_clamp(x, 2.0), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("steep", [0.1, 1.0, 30.0, 1e4])
def test_a_step_between_flat_parts(steep):
    """Newton steps alone would leave the bracket, or move too little."""
    target = torch.linspace(-30, 30, 61, dtype=torch.float64)

    def function(y):
        h = torch.tanh(y)
        return y + steep * h, 1 + steep * (1 - h * h)

    y = solve_increasing(function, target, target - steep, target + steep)
    residual = function(y)[0] - target
    assert (residual.abs() <= 1e-14 * (1 + steep) * function(y)[1]).all()


def test_flat_functions():
    """The slope is zero at the start, and everywhere but in a small interval."""
    target = torch.tensor([0.25], dtype=torch.float64)

    def function(y):
        return (y - 0.9).clamp(0, 0.01) * 50, 50.0 * ((y > 0.9) & (y < 0.91))

    y = solve_increasing(function, target, torch.full_like(target, -100), torch.full_like(target, 100))
    torch.testing.assert_close(y, torch.tensor([0.905], dtype=torch.float64), rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_newton_steps_are_kept_once_they_converge(dtype):
    """Bisections of a bracket whose other end Newton steps never reach would take one step per bit."""
    target, calls = torch.linspace(-5, 5, 101, dtype=dtype), 0

    def function(y):
        nonlocal calls
        calls += 1
        return torch.sinh(y), torch.cosh(y)

    y = solve_increasing(function, target, torch.full_like(target, -9), torch.full_like(target, 9))
    assert calls <= 14
    torch.testing.assert_close(y, torch.asinh(target), rtol=4 * torch.finfo(dtype).eps, atol=0)
