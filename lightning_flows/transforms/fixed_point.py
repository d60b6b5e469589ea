"""Inverses of residual maps by fixed-point iteration."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_flows.errors import ConvergenceError

PATIENCE = 5
"""Iterations without a smaller residual after which a sample has come as far as round-off allows."""

Residual = Callable[[Tensor], tuple[Tensor, Tensor]]
"""A function f with what its Jacobian's diagonal is known to be, zeros where nothing is known: both of y's shape."""


class InverseReport(NamedTuple):
    """What the last inverse took, per sample: ``iterations (B,)`` and the ``residual (B,)`` that was reached."""

    iterations: Tensor
    residual: Tensor


@torch.no_grad()
def solve_residual(
    residual_map: Residual, v: Tensor, *, tol: float | None, max_iter: int
) -> tuple[Tensor, InverseReport, int]:
    r"""Solve y + f(y) = v by the iteration :math:`y \leftarrow y - (y + f(y) - v)/(1 + f'(y))`.

    Each sample goes on until its residual is at most ``tol`` relative to its largest value, by default as far as
    round-off allows, which must be at least 1000 units of round-off; then it leaves the batch. Returns the best
    iterates, the report, and how many samples are left after ``max_iter`` iterations: see :func:`check_converged`.

    Shapes: v, y ``(B, *event)``.
    """
    eps = torch.finfo(v.dtype).eps
    target, limit = (2 * eps, 1000 * eps) if tol is None else (tol, tol)
    scale = v.abs().flatten(1).amax(1).clamp(min=1)
    y, best, residual = v.clone(), v.clone(), torch.full_like(scale, torch.inf)
    iterations, stalled = torch.zeros_like(scale, dtype=torch.long), torch.zeros_like(scale, dtype=torch.long)
    active = torch.arange(v.shape[0], device=v.device)
    for step in range(max_iter + 1):
        current = y[active]
        f, diagonal = residual_map(current)
        error = current + f - v[active]
        now = error.abs().flatten(1).amax(1) / scale[active]
        better = now < residual[active]
        residual[active[better]], best[active[better]] = now[better], current[better]
        stalled[active] = torch.where(better, 0, stalled[active] + 1)
        # round-off lets a residual stall above the target, the more so the steeper f; NaN counts as not converged
        reached = residual[active]
        left = ~((reached <= target) | ((reached <= limit) & (stalled[active] > PATIENCE)))
        active = active[left]
        if active.numel() == 0 or step == max_iter:
            break
        y[active] = (current - error / (1 + diagonal))[left]
        iterations[active] += 1
    return best, InverseReport(iterations, residual), active.numel()


def check_converged(report: InverseReport, num_left: int, name: str) -> None:
    """Raise ConvergenceError if samples are left."""
    if num_left:
        worst = report.residual.max().item()
        raise ConvergenceError(
            f"the inverse of a {name} expected to converge within {int(report.iterations.max())} iterations; got a "
            f"residual of {worst:.1e} for {num_left} of {len(report.residual)} samples: raise max_iter or tol, or "
            "decode in float64",
            residual=worst,
        )


def attach_gradient(residual_map: Residual, y: Tensor, v: Tensor, *, max_iter: int) -> Tensor:
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
