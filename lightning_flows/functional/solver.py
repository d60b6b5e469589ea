"""One decoding of a batch by layers with iterative inverses: its tolerance, and the solutions of the layers."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_flows.functional.fixed_point import (
    ROUND_OFF,
    Direct,
    InverseReport,
    ResidualMap,
    Solution,
    solve_residual,
)

PROGRESS = 64
"""Factor by which a pass reduces the residual of every layer, compared with the pass that it continues."""


class Solver:
    """Passed from layer to layer in a decoding; collects the solutions and reports of layers that call :meth:`solve`.

    Args:
        tol: largest residual of each layer, relative to the largest value of a sample; at least round-off.
        exact_direct: whether direct solvers ignore the tolerance and solve to round-off, which costs little more.
        previous: solver of a previous decoding of nearly the same latents by the same layers. Each layer starts from
            its previous solution, and reduces the residual at least 64-fold unless round-off prevents it.

    >>> coarse = Solver(tol=0.1)
    >>> _ = coarse.solve(lambda y: (y / 2, torch.zeros_like(y)), torch.ones(1, 2), max_iter=50, name="map")
    >>> bool(coarse.residual <= 0.1), coarse.exact, len(coarse.reports)
    (True, False, 1)
    """

    def __init__(self, tol: float = 0.0, *, exact_direct: bool = False, previous: "Solver | None" = None) -> None:
        self.tol, self.exact_direct, self.previous = tol, exact_direct, previous
        self.exact = True
        self.solutions: list[tuple[Tensor, InverseReport]] = []

    def solve(
        self,
        residual_map: ResidualMap,
        v: Tensor,
        *,
        max_iter: int,
        name: str,
        direct: Direct | None = None,
        context: Sequence[Tensor] = (),
    ) -> Solution:
        """Solve y + f(y) = v; see :func:`solve_residual`."""
        aim = 0.0 if self.exact_direct and direct is not None else self.tol
        self.exact &= aim <= round_off(v.dtype)
        tol, start = v.new_full((len(v),), aim), None
        if self.previous is not None:
            start, report = self.previous.solutions[len(self.solutions)]
            tol = torch.minimum(tol, report.residual / PROGRESS)
        solution = solve_residual(
            residual_map, v, max_iter=max_iter, name=name, tol=tol, start=start, direct=direct, context=context
        )
        self.solutions.append((solution.y, solution.report))
        return solution

    @property
    def reports(self) -> list[InverseReport]:
        """A report per layer, in order of execution; iterations include those of the previous passes."""
        own = [report for _, report in self.solutions]
        if self.previous is None:
            return own
        return [
            InverseReport(report.iterations + before.iterations, report.residual)
            for report, before in zip(own, self.previous.reports, strict=True)
        ]

    @property
    def residual(self) -> Tensor:
        """Largest residual of any layer, per sample ``(B,)``."""
        return torch.stack([report.residual for _, report in self.solutions]).amax(0)


def round_off(dtype: torch.dtype) -> float:
    """Smallest relative residual that a solver aims for.

    >>> round_off(torch.float64)
    4.440892098500626e-16
    """
    return ROUND_OFF * torch.finfo(dtype).eps
