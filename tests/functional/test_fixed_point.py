"""The iteration that inverts y + f(y) = v returns what its report states."""

import pytest
import torch
from torch import Tensor

from lightning_flows.errors import ConvergenceError, UsageError
from lightning_flows.functional.fixed_point import attach_gradient, solve_residual

EPS = torch.finfo(torch.float64).eps


def linear(slope: float) -> tuple:
    """f(y) = slope·y with an unknown Jacobian."""
    return lambda y: (slope * y, torch.zeros_like(y))


def residual_of(f, y: Tensor, v: Tensor) -> Tensor:
    return (y + f(y)[0] - v).abs().flatten(1).amax(1) / v.abs().flatten(1).amax(1).clamp(min=1)


def test_error_reports_the_smallest_residual() -> None:
    v = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    with pytest.raises(ConvergenceError, match=r"inverse of a map .* 3\.0e\+00 for 2 of 2 samples") as error:
        # y0 = v is best: each step triples the residual
        solve_residual(linear(3.0), v, max_iter=4, name="map")
    assert error.value.residual == residual_of(linear(3.0), v, v).max()


@pytest.mark.parametrize(("units", "converges"), [(100, True), (20_000, False)])
def test_round_off_excuses_a_thousand_units_of_it(units: int, converges: bool) -> None:
    grain = units * EPS  # f in steps of this size cannot be solved more exactly

    def coarse(y: Tensor) -> tuple[Tensor, Tensor]:
        return (0.5 * y / grain).round() * grain, torch.zeros_like(y)

    v = torch.linspace(-1, 1, 8, dtype=torch.float64)[:, None] / 3
    if not converges:
        with pytest.raises(ConvergenceError):
            solve_residual(coarse, v, max_iter=100, name="map")
        return
    y, f, _, report = solve_residual(coarse, v, max_iter=100, name="map")
    assert torch.equal(f, coarse(y)[0])
    assert torch.equal(report.residual, residual_of(coarse, y, v))
    assert report.residual.max() <= 1000 * EPS


@pytest.mark.parametrize(("units", "converges"), [(100, True), (20_000, False)])
def test_round_off_of_derivatives_is_excused_in_the_same_way(units: int, converges: bool) -> None:
    class Coarse(torch.autograd.Function):
        """0.5 y, with a derivative that is rounded to multiples of ``units`` of round-off."""

        @staticmethod
        def forward(ctx, y: Tensor) -> Tensor:
            return 0.5 * y

        @staticmethod
        def backward(ctx, grad: Tensor) -> Tensor:
            return (0.5 * grad / (units * EPS)).round() * units * EPS

    v = torch.linspace(-1, 1, 8, dtype=torch.float64)[:, None].requires_grad_()
    y = attach_gradient(lambda y: (Coarse.apply(y), torch.zeros_like(y)), v.detach() / 1.5, v, max_iter=100)
    weights = torch.linspace(1, 2, 8, dtype=torch.float64)[:, None] / 3
    if not converges:
        with pytest.raises(ConvergenceError, match="the gradient of an inverse did not converge"):
            (weights * y).sum().backward()
        return
    (weights * y).sum().backward()
    torch.testing.assert_close(v.grad, weights / 1.5, rtol=0, atol=units * EPS)


def test_each_sample_counts_its_own_iterations() -> None:
    v = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    y, f, _, report = solve_residual(linear(0.25), v, tol=torch.full_like(v[:, 0], 1e-3), max_iter=50, name="map")
    assert torch.equal(f, 0.25 * y)
    assert report.iterations.tolist() == [0, 4]  # the start is off by 1/4, and 4^-5 is the first below 1e-3
    torch.testing.assert_close(y, v / 1.25, rtol=0, atol=1e-3)


def test_second_derivatives_are_refused() -> None:
    v = torch.ones(2, 1, dtype=torch.float64, requires_grad=True)
    y = attach_gradient(linear(0.25), v.detach() / 1.25, v, max_iter=50)
    (first,) = torch.autograd.grad(y.sum(), v, retain_graph=True)
    torch.testing.assert_close(first, torch.full_like(v, 0.8))
    with pytest.raises(UsageError, match="no second derivatives: omit create_graph=True"):
        torch.autograd.grad(y.sum(), v, create_graph=True)


def test_nan_is_not_said_to_need_iterations() -> None:
    with pytest.raises(ConvergenceError, match="inverse of a map was given NaN or infinity for 1 of 2"):
        solve_residual(linear(0.25), torch.tensor([[1.0], [torch.nan]]), max_iter=50, name="map")
