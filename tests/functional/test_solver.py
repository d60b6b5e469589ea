"""A solver passes a tolerance to each layer, and their solutions to the next pass."""

import torch
from torch import Tensor

from lightning_flows.functional.fixed_point import Solution
from lightning_flows.functional.solver import Solver, round_off

V = torch.tensor([[1.0], [-2.0]], dtype=torch.float64)


def halved(y: Tensor) -> tuple[Tensor, Tensor]:
    """f(y) = y/2 with an unknown Jacobian: each iteration halves the residual."""
    return 0.5 * y, torch.zeros_like(y)


def solve(solver: Solver, **options) -> Solution:
    return solver.solve(halved, V, max_iter=100, name="map", **options)


def test_reports_are_in_order_and_summed_over_passes() -> None:
    first = Solver(1e-3)
    solve(first)
    solve(first)
    second = Solver(1e-6, previous=first)
    solve(second)
    solve(second)
    assert len(second.reports) == 2
    coarse, fine, once = first.reports[0], second.reports[0], Solver(1e-6)
    solve(once)
    assert (fine.residual <= 1e-6).all()
    assert (coarse.iterations < fine.iterations).all()
    assert torch.equal(fine.iterations, once.reports[0].iterations)  # the second pass continues where the first ended
    assert torch.equal(second.residual, fine.residual)


def test_a_pass_reduces_the_residual_even_within_its_tolerance() -> None:
    first = Solver(1e-3)
    solve(first)
    second = Solver(1e-3, previous=first)
    solve(second)
    assert (second.residual <= first.residual / 64).all()


def test_direct_solvers_may_go_to_round_off() -> None:
    asked: list[Tensor] = []

    def direct(v: Tensor, tol: Tensor, excused: Tensor, start: Tensor | None) -> Solution:
        asked.append(tol)
        return Solution(v, v, v, Solver(0.0).solve(halved, v, max_iter=100, name="map").report)

    for exact, expected in ((False, 1e-3), (True, round_off(torch.float64))):
        solver = Solver(1e-3, exact_direct=exact)
        solve(solver, direct=direct)
        assert asked[-1].tolist() == [expected] * 2
        assert solver.exact == exact
    solve(solver)
    assert not solver.exact  # not all layers are


def test_samples_that_a_direct_solver_leaves_are_iterated() -> None:
    def only_the_first(v: Tensor, tol: Tensor, excused: Tensor, start: Tensor | None) -> Solution:
        report = Solver(0.0).solve(halved, v, max_iter=100, name="map").report
        residual = torch.tensor([0.0, torch.nan], dtype=v.dtype)
        return Solution(0 * v, 0 * v, 0 * v, report._replace(residual=residual))

    y, f, *_, report = solve(Solver(1e-9), direct=only_the_first)
    assert y[0] == 0
    torch.testing.assert_close(y[1], V[1] / 1.5, rtol=1e-8, atol=0)
    assert torch.equal(f[1], y[1] / 2)
    assert report.residual[1] <= 1e-9
