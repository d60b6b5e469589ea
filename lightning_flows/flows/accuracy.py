"""Decoding to a given accuracy of the data, from which the tolerance of iterative inverses follows."""

import math
import warnings
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from lightning_flows.errors import UsageError
from lightning_flows.functional.solver import PROGRESS, Solver, round_off

Accuracy = float | Literal["exact"]
"""Largest error of a decoded value, in units of the data; or ``exact``, for round-off."""
MARGIN = 64
"""Amplification of a residual, relative to the scale of the data, for which a first pass is accurate enough."""
NOISE = 32
"""Round-off of a layer, relative to its largest value, in units of eps."""


def decode_within(
    run: Callable[[Solver], Tensor], accuracy: Accuracy | None, default: Accuracy, scale: float, dtype: torch.dtype
) -> tuple[Tensor, Solver]:
    r"""Decode so that no value is further than ``accuracy`` from what exact arithmetic would give.

    A first pass solves each layer to the relative residual accuracy/(64 scale), or to round-off if it has a direct
    solver, which costs little more. If all layers are then at round-off, the result is as accurate as ``dtype``
    permits. Otherwise, each further pass starts from the previous solutions, and reduces all residuals 64-fold. A
    sample is final once a pass changes it by at most ``accuracy``: the change is the error of the previous pass.

    If ``accuracy`` is given and so fine that round-off matters, there are at least two passes, the first to 64 units of
    round-off: the ratio of change to residual is the factor by which layers amplify errors.

    Args:
        run: decodes with the tolerance of a solver, and can be called repeatedly.
        accuracy: None for ``default``.
        scale: largest magnitude of the data.
        dtype: dtype of the decoding.

    Raises: UsageError for an accuracy that is not positive, or finer than ``dtype`` can represent. Warns if round-off
    prevents a given accuracy.
    """
    wanted = _checked(default if accuracy is None else accuracy, scale, dtype)
    eps = torch.finfo(dtype).eps
    tol = 0.0 if wanted is None else wanted / (MARGIN * scale)
    measured = wanted is not None and accuracy is not None and tol < 1e4 * eps
    if measured:
        tol = max(tol, PROGRESS * eps)
    solver = Solver(tol, exact_direct=not measured)
    x = run(solver)
    if wanted is None or not solver.solutions or not len(x):
        return x, solver
    near = solver.exact or (accuracy is None and tol <= 4 * round_off(dtype))
    done = torch.full((len(x),), near and not measured, device=x.device)
    possible = x.new_zeros(len(x))
    while not done.all() and tol > round_off(dtype):
        tol = max(tol / PROGRESS, round_off(dtype))
        before, solver = solver, Solver(tol, exact_direct=True, previous=solver)
        finer = run(solver)
        change = (finer - x).detach().abs().flatten(1).amax(1)
        x = torch.where(done.reshape(-1, *[1] * (x.ndim - 1)), x, finer)
        possible = torch.where(done, possible, NOISE * eps * change / before.residual.clamp(min=round_off(dtype)))
        done = done | (change <= wanted)
    if measured and (possible > wanted).any():
        warnings.warn(
            f"decoding in {str(dtype).removeprefix('torch.')} has an error of about {possible.max():.0e}, above "
            f"the accuracy of {wanted:g}: choose a larger accuracy{_or_float64(dtype)}",
            stacklevel=4,
        )
    return x, solver


def _checked(accuracy: Accuracy, scale: float, dtype: torch.dtype) -> float | None:
    """Return the accuracy as a number, None for ``exact``."""
    if accuracy == "exact":
        return None
    if isinstance(accuracy, str | bool) or not 0 < accuracy < math.inf:
        raise UsageError(f"expected an accuracy above 0, in units of the data, or exact; got {accuracy}")
    if accuracy < (finest := scale * torch.finfo(dtype).eps):
        raise UsageError(
            f"{str(dtype).removeprefix('torch.')} cannot represent values up to {scale:g} to an accuracy of "
            f"{accuracy:g}: choose at least {finest:.1e}{_or_float64(dtype)}"
        )
    return float(accuracy)


def _or_float64(dtype: torch.dtype) -> str:
    return "" if dtype == torch.float64 else ", or decode in float64 with dtype=torch.float64"
