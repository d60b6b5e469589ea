"""Inverses of residual maps by fixed-point iteration."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_flows.errors import ConvergenceError, UsageError

PATIENCE = 5
"""Iterations without improvement after which a sample is considered to be as accurate as round-off permits."""
ROUND_OFF = 2
"""Smallest tolerance of an iteration, in units of round-off."""
EXCUSED = 1000
"""Largest residual that is attributed to round-off if it no longer improves, in units of round-off."""

ResidualMap = Callable[..., tuple[Tensor, Tensor]]
"""Returns f(y) and the known diagonal of its Jacobian, zeros where it is unknown: both of y's shape.

Called with y and, if f differs between samples, the tensors ``(B, ...)`` that determine it.
"""


class InverseReport(NamedTuple):
    """Cost and accuracy of an inverse, per sample: ``iterations (B,)`` and the final ``residual (B,)``.

    >>> half = lambda y: (y / 2, torch.zeros_like(y))
    >>> report = solve_residual(half, torch.ones(1, 2), max_iter=50, name="map").report
    >>> bool(report.iterations > 10), bool(report.residual < 1e-6)
    (True, True)
    """

    iterations: Tensor
    residual: Tensor


class Solution(NamedTuple):
    """The solution y of y + f(y) = v, with f(y), the Jacobian's diagonal there, and the report.

    Shapes: y, f(y) and the diagonal ``(B, *event)``; those of the report ``(B,)``.

    >>> half = lambda y: (y / 2, torch.full_like(y, 0.5))
    >>> y, f, diagonal, report = solve_residual(half, torch.full((1, 2), 3.0), max_iter=50, name="map")
    >>> y, f, report.iterations
    (tensor([[2., 2.]]), tensor([[1., 1.]]), tensor([1]))
    """

    y: Tensor
    f: Tensor
    diagonal: Tensor
    report: InverseReport

    def replace(self, rows: Tensor, other: "Solution") -> None:
        """Overwrite these samples with another solution."""
        for whole, part in zip((*self[:3], *self.report), (*other[:3], *other.report), strict=True):
            whole[rows] = part


Direct = Callable[[Tensor, Tensor, Tensor, Tensor | None], Solution]
"""A faster solver for one kind of f: called with v, the tolerances ``(B,)``, the excused residuals, and a start."""


@torch.no_grad()
def solve_residual(
    residual_map: ResidualMap,
    v: Tensor,
    *,
    max_iter: int,
    name: str,
    tol: Tensor | None = None,
    start: Tensor | None = None,
    direct: Direct | None = None,
    context: Sequence[Tensor] = (),
) -> Solution:
    r"""Solve y + f(y) = v by the iteration :math:`y \leftarrow y - (y + f(y) - v)/(1 + f'(y))`.

    Each sample is iterated until its residual, relative to its largest value, is at most its tolerance, or no longer
    improves and is below 1000 units of round-off. It then leaves the batch: immediately on a CPU, and together with
    half of the batch on other devices, to save synchronizations. If there is a ``direct`` solver, only samples for
    which it fails are iterated. ``context`` is passed on to the map, for the samples that are left.

    Shapes: v, y, start ``(B, *event)``; tol ``(B,)``, by default two units of round-off; context ``(B, ...)`` each.
    Raises: ConvergenceError if a sample needs more than ``max_iter`` iterations, or v is not finite; ``name`` describes
        the layer.

    >>> half = lambda y: (y / 2, torch.full_like(y, 0.5))  # f and its slope, with which one step suffices
    >>> solve_residual(half, torch.tensor([[3.0], [6.0]]), max_iter=50, name="map").y.flatten()
    tensor([2., 4.])
    """
    eps = torch.finfo(v.dtype).eps
    target = (v.new_zeros(len(v)) if tol is None else tol).clamp(min=ROUND_OFF * eps)
    excused = target.clamp(min=EXCUSED * eps)
    if direct is None or not v.numel():
        count, residual = torch.zeros_like(target, dtype=torch.long), torch.full_like(target, torch.inf)
        found = Solution(v.clone(), torch.zeros_like(v), torch.zeros_like(v), InverseReport(count, residual))
        rows, y = torch.arange(len(v), device=v.device), v if start is None else start
    else:
        found = direct(v, target, excused, start)
        rows = (~(found.report.residual <= excused)).nonzero().flatten()
        y = v[rows]
    num_left, active = len(rows), torch.ones_like(rows).bool()
    context = context if num_left == len(v) else [each[rows] for each in context]
    if not v.numel() or not num_left:
        return found
    scale = v.abs().flatten(1).amax(1).clamp(min=1)
    count, stalled, best = torch.zeros_like(rows), torch.zeros_like(rows), torch.full_like(scale[rows], torch.inf)
    for _ in range(max_iter + 1):
        f, diagonal = residual_map(y, *context)
        error = y + f - v[rows]
        residual = error.abs().flatten(1).amax(1) / scale[rows]
        stalled, best = torch.where(residual < best, 0, stalled + 1), torch.fmin(best, residual)
        # round-off may stall a residual above the target, especially for steep f; NaN counts as not converged
        active &= ~((residual <= target[rows]) | ((residual <= excused[rows]) & (stalled > PATIENCE)))
        num_left = int(active.sum())
        if num_left == 0 or (num_left < len(y) and (v.is_cpu or 2 * num_left <= len(y))):
            found.replace(rows, Solution(y, f, diagonal, InverseReport(count, residual)))
            if num_left == 0:
                return found
            rows, y, error, diagonal, count, stalled, best = (
                each[active] for each in (rows, y, error, diagonal, count, stalled, best)
            )
            context = [each[active] for each in context]
            active = active[active]
        step = error / (1 + diagonal)
        y = y - (step if num_left == len(y) else torch.where(_as(active, y), step, 0))
        count = count + active
    if broken := int((~v.isfinite()).flatten(1).any(1).sum()):
        raise ConvergenceError(
            f"the inverse of a {name} was given NaN or infinity for {broken} of {len(v)} samples: see what computed "
            "its input",
            residual=math.inf,
        )
    worst = best[active].max().item()
    raise ConvergenceError(
        f"the inverse of a {name} did not converge within {max_iter} iterations: it has a residual of {worst:.1e} for "
        f"{num_left} of {len(v)} samples; raise max_iter, or decode in float64",
        residual=worst,
    )


def _as(mask: Tensor, x: Tensor) -> Tensor:
    """A mask ``(B,)`` that broadcasts against x ``(B, *event)``."""
    return mask.reshape(-1, *[1] * (x.ndim - 1))


def attach_gradient(residual_map: ResidualMap, y: Tensor, v: Tensor, *, max_iter: int) -> Tensor:
    r"""Give the solution y of y + f(y) = v its derivative: a gradient g becomes λ with :math:`(I + J_f^T)λ = g`.

    Shapes: y, v, and the result ``(B, *event)``.
    Raises: UsageError for second derivatives, when the gradient is computed with ``create_graph=True``.

    >>> half = lambda y: (y / 2, torch.full_like(y, 0.5))
    >>> v = torch.tensor([[3.0]], requires_grad=True)
    >>> y = solve_residual(half, v, max_iter=50, name="map").y
    >>> attach_gradient(half, y, v, max_iter=50).sum().backward()
    >>> v.grad  # dy/dv = 1/(1 + 1/2)
    tensor([[0.6667]])
    """
    point = y.detach().requires_grad_()
    with torch.enable_grad():
        f, diagonal = residual_map(point)
    one_step = v - residual_map(y.detach())[0]

    def solve_transposed(grad: Tensor) -> Tensor:
        if grad.numel() == 0:
            return grad
        if torch.is_grad_enabled():
            raise UsageError(
                "the inverse of an iterative layer has no second derivatives: omit create_graph=True, or differentiate "
                "the forward direction"
            )
        solution = previous = grad / (1 + diagonal.detach())
        before = math.inf
        for _ in range(max_iter):
            (pulled,) = torch.autograd.grad(f, point, solution, retain_graph=True)
            error = solution + pulled - grad
            size = torch.maximum(grad.abs().max(), solution.abs().max())
            largest, resolution = float(error.abs().max()), torch.finfo(grad.dtype).eps * float(size)
            if largest <= 8 * resolution:
                return solution
            # round-off in f, whose terms can be much larger than its derivative, is where errors stop decreasing
            if before <= largest <= EXCUSED * resolution:
                return previous
            before, previous = largest, solution
            solution = solution - error / (1 + diagonal.detach())
        raise ConvergenceError("the gradient of an inverse did not converge", error.abs().max().item())

    if one_step.requires_grad:
        one_step.register_hook(solve_transposed)
    return one_step
