"""Inverses of residual maps by fixed-point iteration."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_flows.errors import ConvergenceError

PATIENCE = 5
"""Iterations without improvement after which a sample is considered as accurate as round-off permits."""

ResidualMap = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Returns f(y) and the known diagonal of its Jacobian, zeros where it is unknown: both of y's shape."""


class InverseReport(NamedTuple):
    """Cost and accuracy of an inverse, per sample: ``iterations (B,)`` and the final ``residual (B,)``."""

    iterations: Tensor
    residual: Tensor


class Solution(NamedTuple):
    """The solution y of y + f(y) = v, with f(y), the Jacobian's diagonal there, and the report."""

    y: Tensor
    f: Tensor
    diagonal: Tensor
    report: InverseReport


class _Best(NamedTuple):
    """The iterate with the smallest residual of each sample, the number of iterations, and of those since then."""

    y: Tensor
    f: Tensor
    diagonal: Tensor
    residual: Tensor
    iterations: Tensor
    stalled: Tensor


@torch.no_grad()
def solve_residual(residual_map: ResidualMap, v: Tensor, *, tol: float | None, max_iter: int, name: str) -> Solution:
    r"""Solve y + f(y) = v by the iteration :math:`y \leftarrow y - (y + f(y) - v)/(1 + f'(y))`.

    Each sample is iterated until its residual is at most ``tol`` relative to its largest value; by default, until
    round-off stops it, which must happen below 1000 units of round-off. It is then fixed, and leaves the batch
    immediately on a CPU or, to save synchronizations, together with half of the batch on other devices.

    Shapes: v, y ``(B, *event)``.
    Raises: ConvergenceError if a sample needs more than ``max_iter`` iterations; ``name`` describes the layer.
    """
    eps = torch.finfo(v.dtype).eps
    target, limit = (2 * eps, 1000 * eps) if tol is None else (tol, tol)
    scale = v.abs().flatten(1).amax(1).clamp(min=1) if v.numel() else v.new_ones(len(v))
    count, zeros = torch.zeros_like(scale, dtype=torch.long), torch.zeros_like(v)
    best = _Best(v, zeros, zeros, torch.full_like(scale, torch.inf), count, count)
    result = _Best(*(x.clone() for x in best))
    y, rows, num_left = v, torch.arange(len(v), device=v.device), len(v)
    active = torch.ones_like(rows, dtype=torch.bool)
    for step in range(max_iter + 1 if num_left else 0):
        f, diagonal = residual_map(y)
        error = y + f - v[rows]
        residual = error.abs().flatten(1).amax(1) / scale[rows]
        better = active & (residual < best.residual)
        y_best, f_best, diagonal_best, residual_best = (
            torch.where(_as(better, new), new, old)
            for new, old in zip((y, f, diagonal, residual), best[:4], strict=True)
        )
        iterations, stalled = torch.where(active, step, best.iterations), torch.where(better, 0, best.stalled + 1)
        best = _Best(y_best, f_best, diagonal_best, residual_best, iterations, stalled)
        # round-off may stall a residual above the target, especially for steep f; NaN counts as not converged
        reached = (best.residual <= target) | ((best.residual <= limit) & (best.stalled > PATIENCE))
        active = active & ~reached
        y = torch.where(_as(active, y), y - error / (1 + diagonal), y)
        num_left = int(active.sum())
        if num_left < len(y) and (v.is_cpu or 2 * num_left <= len(y)):
            _write(result, rows, best)
            rows, y, best = rows[active], y[active], _Best(*(x[active] for x in best))
            active = active[active]
        if num_left == 0:
            break
    _write(result, rows, best)
    report = InverseReport(result.iterations, result.residual)
    if num_left:
        worst = report.residual.max().item()
        raise ConvergenceError(
            f"the inverse of a {name} did not converge within {max_iter} iterations: it has a residual of "
            f"{worst:.1e} for {num_left} of {len(v)} samples; raise max_iter or tol, or decode in float64",
            residual=worst,
        )
    return Solution(*result[:3], report)


def _write(result: _Best, rows: Tensor, best: _Best) -> None:
    for whole, part in zip(result, best, strict=True):
        whole[rows] = part


def _as(mask: Tensor, x: Tensor) -> Tensor:
    """A mask ``(B,)`` that broadcasts against x ``(B, *event)``."""
    return mask.reshape(-1, *[1] * (x.ndim - 1))


def attach_gradient(residual_map: ResidualMap, y: Tensor, v: Tensor, *, max_iter: int) -> Tensor:
    r"""Give the solution y of y + f(y) = v its derivative: a gradient g becomes λ with :math:`(I + J_f^T)λ = g`."""
    point = y.detach().requires_grad_()
    with torch.enable_grad():
        f, diagonal = residual_map(point)
    one_step = v - residual_map(y.detach())[0]

    def solve_transposed(grad: Tensor) -> Tensor:
        if grad.numel() == 0:
            return grad
        solution = grad / (1 + diagonal.detach())
        for _ in range(max_iter):
            (pulled,) = torch.autograd.grad(f, point, solution, retain_graph=True)
            error = solution + pulled - grad
            size = torch.maximum(grad.abs().max(), solution.abs().max())
            if error.abs().max() <= 8 * torch.finfo(grad.dtype).eps * size:
                return solution
            solution = solution - error / (1 + diagonal.detach())
        raise ConvergenceError("the gradient of an inverse did not converge", error.abs().max().item())

    if one_step.requires_grad:
        one_step.register_hook(solve_transposed)
    return one_step
