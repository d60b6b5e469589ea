"""Fronts of pixels give the same solution as iterating the whole image."""

import pytest
import torch
from torch import Tensor

from lightning_flows.functional.fixed_point import Solution, solve_residual
from lightning_flows.nets import AutoregressiveConvNet, SylvesterFunction

SHAPES = [(4, 5, 3), (3, 2, 6), (1, 4, 4), (5, 1, 7), (2, 6, 1), (3, 1, 1), (12, 4, 4)]


def steep(shape: tuple[int, ...], width: int = 8, noise: float = 0.5, seed: int = 0) -> SylvesterFunction:
    torch.manual_seed(seed)
    function = SylvesterFunction(AutoregressiveConvNet(shape, width)).double()
    for parameter in function.parameters():
        parameter.data += noise * torch.randn_like(parameter)
    for _ in range(20):
        function.train()(torch.zeros(1, *shape, dtype=torch.float64))
    return function.eval()


def solved(function: SylvesterFunction, v: Tensor, tol: float = 0.0, start: Tensor | None = None) -> Solution:
    _, direct = function.bind_with_solver()
    assert direct is not None
    eps = torch.finfo(v.dtype).eps
    tols = torch.full((len(v),), max(tol, 2 * eps), dtype=v.dtype)
    return direct(v, tols, tols.clamp(min=1000 * eps), start)


@torch.no_grad()
@pytest.mark.parametrize("width", [2, 8, 13])
@pytest.mark.parametrize("shape", SHAPES)
def test_solution_of_any_shape(shape: tuple[int, ...], width: int) -> None:
    function = steep(shape, width)
    v = 2 * torch.randn(3, *shape, dtype=torch.float64)
    y, f, diagonal, report = solved(function, v)
    expected = solve_residual(function.bind(), v, max_iter=500, name="function")
    torch.testing.assert_close(y, expected.y, rtol=0, atol=1e-11)
    for found, at_y in zip((f, diagonal), function(y), strict=True):
        torch.testing.assert_close(found, at_y, rtol=0, atol=1e-11)
    residual = (y + function(y)[0] - v).abs().flatten(1).amax(1) / v.abs().flatten(1).amax(1).clamp(min=1)
    torch.testing.assert_close(report.residual, residual, rtol=0, atol=1e-13)
    assert report.iterations.shape == (3,)


@torch.no_grad()
def test_hard_images_take_few_iterations() -> None:
    function = steep((4, 8, 8), 16, noise=1.0)
    v = torch.randn(4, 4, 8, 8, dtype=torch.float64)
    whole = solve_residual(function.bind(), v, max_iter=500, name="function")
    fronts = solved(function, v)
    assert fronts.report.iterations.max() <= 0.5 * whole.report.iterations.min()


@torch.no_grad()
def test_samples_are_independent_and_tolerances_separate() -> None:
    function = steep((3, 4, 4))
    v = torch.randn(3, 3, 4, 4, dtype=torch.float64) * torch.tensor([0.01, 1, 100])[:, None, None, None]
    tols = torch.tensor([1e-3, 1e-8, 1e-12], dtype=torch.float64)
    direct = function.bind_with_solver()[1]
    together = direct(v, tols, tols.clamp(min=1e-12), None)
    assert len(set(together.report.iterations.tolist())) > 1
    for i in range(3):
        alone = direct(v[i : i + 1], tols[i : i + 1], tols[i : i + 1].clamp(min=1e-12), None)
        torch.testing.assert_close(alone.y[0], together.y[i], rtol=1e-13, atol=1e-13)
        assert alone.report.iterations[0] == together.report.iterations[i]
        assert alone.report.residual[0] <= tols[i]


@torch.no_grad()
def test_a_given_start_is_improved_everywhere() -> None:
    function = steep((3, 4, 4))
    v = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    exact, coarse = solved(function, v), solved(function, v, tol=1e-4)
    again = solved(function, v, tol=1e-4, start=coarse.y)
    assert again.report.iterations.tolist() == [1, 1]
    assert (again.y - exact.y).abs().max() < 0.5 * (coarse.y - exact.y).abs().max()


@torch.no_grad()
def test_nan_is_not_solved_and_leaves_other_samples_alone() -> None:
    function = steep((3, 4, 4))
    v = torch.randn(3, 3, 4, 4, dtype=torch.float64)
    expected = solved(function, v[:1])
    v[1, 0, 2, 2], v[2, 0, 0, 0] = torch.nan, torch.inf
    found = solved(function, v)
    assert (~(found.report.residual <= 1)).tolist() == [False, True, True]
    torch.testing.assert_close(found.y[0], expected.y[0], rtol=0, atol=1e-13)


def test_other_nets_have_no_direct_solver() -> None:
    class Shifted(AutoregressiveConvNet):
        """A user's own net, which the solver does not know."""

    assert SylvesterFunction(Shifted((1, 2, 2), 2)).bind_with_solver()[1] is None
