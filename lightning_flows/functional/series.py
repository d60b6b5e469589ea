"""The exponential of a linear map, applied to a tensor by its power series."""

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor


def remainder_bound(norm: float, num_terms: int) -> float:
    r"""Bound on the remainder of the exponential's power series after term T = ``num_terms``.

    .. math:: \Big\|\sum_{i>T} \frac{M^i x}{i!}\Big\| \le \frac{b^{T+1}}{(T+1)!}\,\frac{1}{1-b/(T+2)}\,\|x\|,
              \qquad b \ge \|M\|

    Infinite where the geometric bound does not hold (b ≥ T + 2).

    >>> remainder_bound(0.0, 3)
    0.0
    >>> remainder_bound(1.0, 1) >= math.e - 2
    True
    """
    if norm >= num_terms + 2:
        return math.inf
    first = math.exp((num_terms + 1) * math.log(norm) - math.lgamma(num_terms + 2)) if norm > 0 else 0.0
    return first / (1 - norm / (num_terms + 2))


def terms_needed(norm: float, tol: float) -> int:
    r"""Smallest number of terms whose remainder bound is at most ``tol``, relative to the input.

    .. math:: \min\Big\{T:\; \frac{b^{T+1}}{(T+1)!}\,\frac{1}{1-b/(T+2)} \le \text{tol}\Big\}

    b is the norm; see :func:`remainder_bound`.

    >>> terms_needed(0.95, 1.6e-4), terms_needed(0.95, 1e-12)
    (6, 14)
    """
    if not (norm >= 0 and math.isfinite(norm) and tol > 0):
        raise ValueError(f"expected a finite norm of at least 0 and a tolerance above 0; got {norm} and {tol}")
    num_terms = 0
    while remainder_bound(norm, num_terms) > tol:
        num_terms += 1
    return num_terms


@lru_cache
def _steps_and_terms(norm_bound: float, tol: float) -> tuple[int, int]:
    num_steps = max(1, math.ceil(norm_bound / 2))
    growth = math.exp(norm_bound * (1 - 1 / num_steps))  # factor of a step's remainder in the other steps
    return num_steps, terms_needed(norm_bound / num_steps, tol / (num_steps * growth))


@torch.compiler.assume_constant_result  # does not apply to a cached function
def steps_and_terms(norm_bound: float, tol: float) -> tuple[int, int]:
    r"""Steps n of :math:`\exp(M) = \exp(M/n)^n` with ‖M/n‖ ≤ 2, and terms per step, for a remainder of at most ``tol``.

    >>> steps_and_terms(0.95, 1e-12), steps_and_terms(4.0, 1e-12)[0]
    ((1, 14), 2)
    """
    return _steps_and_terms(norm_bound, tol)


def linear_exponential(
    linear: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    norm_bound: float,
    tol: float | None = None,
    num_terms: int | None = None,
) -> Tensor:
    r"""Apply the exponential of a linear map, :math:`\exp(M)\,x = \sum_i M^i x / i!`, with ``linear(x)`` = M x.

    The number of terms is determined by ``norm_bound`` ≥ ‖M‖₂ and ``tol``, the largest remainder relative to ‖x‖
    (default: four units of round-off of x's dtype). Above a norm of 2, where the series loses digits to cancellation,
    the map is split: exp(M) = exp(M/n)ⁿ. ``num_terms`` overrides the number of terms per step.

    Shapes: any; ``linear`` preserves shape and dtype. Source: section 3 of the paper, algorithm 2.

    >>> linear_exponential(lambda x: 0.5 * x, torch.ones(1), norm_bound=0.5)
    tensor([1.6487])
    """
    num_steps, needed = steps_and_terms(norm_bound, 4 * torch.finfo(x.dtype).eps if tol is None else tol)
    for _ in range(num_steps):
        power, total = x, x.clone()
        for i in range(1, (needed if num_terms is None else num_terms) + 1):
            power = linear(power)
            total.add_(power, alpha=1 / (math.factorial(i) * num_steps**i))
        x = total
    return x


def matrix_exponential(matrix: Tensor, *, norm_bound: float) -> Tensor:
    r"""exp(A) of small matrices ``(..., F, F)`` of norm at most ``norm_bound``, by Horner's scheme.

    .. math:: \exp A \approx I + A\big(I + \tfrac12 A(I + \tfrac13 A(\dots))\big)

    Reads no value from the device, unlike ``torch.linalg.matrix_exp``. For the number of terms and large norms, see
    :func:`linear_exponential`.

    >>> matrix_exponential(torch.tensor([[0.0, 1.0], [0.0, 0.0]]), norm_bound=1.0)
    tensor([[1., 1.],
            [0., 1.]])
    """
    num_steps, num_terms = steps_and_terms(norm_bound, 4 * torch.finfo(matrix.dtype).eps)
    flat = matrix.flatten(0, -3) if matrix.ndim > 2 else matrix[None]
    total = identity = torch.eye(flat.shape[-1], dtype=flat.dtype, device=flat.device).expand_as(flat)
    for i in range(num_terms, 0, -1):
        total = torch.baddbmm(identity, flat, total, alpha=1 / (i * num_steps))
    return torch.linalg.matrix_power(total, num_steps).reshape(matrix.shape)
