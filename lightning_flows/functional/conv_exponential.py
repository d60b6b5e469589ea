"""The exponential of a zero-padded convolution, for which autograd keeps only the input and the kernel."""

import math
from functools import lru_cache
from itertools import count
from typing import Any

import torch
from torch import Tensor

from lightning_flows.functional.convolution import adjoint_kernel, convolve, convolve_backward
from lightning_flows.functional.precision import full_precision
from lightning_flows.functional.quadrature import gauss_legendre, quadrature_error
from lightning_flows.functional.series import steps_and_terms

Rows = tuple[tuple[float, ...], ...]


def conv_exponential(kernel: Tensor, x: Tensor, *, norm_bound: float, num_terms: int | None = None) -> Tensor:
    r"""Apply the exponential of a zero-padded convolution: :math:`z = \sum_i m \star^i x / i!`.

    The series is that of :func:`linear_exponential`, but autograd keeps only the kernel and x or, above a norm of 2,
    the input of each step. The backward evaluates the powers of M again:

    .. math:: \bar x = e^{M^T} \bar z, \qquad
              \bar M = \int_0^1 \big(e^{(1-s) M^T} \bar z\big)\, \big(e^{s M} x\big)^T\, ds

    Gauss-Legendre quadrature evaluates the integral to round-off, with 4 nodes in float32 if the series has 9 terms.
    One matrix product combines the powers into the exponentials of all nodes, and one convolution sums over the nodes.
    If ``num_terms`` is given, the gradient is exactly that of the truncated series. The backward temporarily holds
    about 3 · (terms + nodes) tensors like x. It can be differentiated again, but not in forward mode.

    Shapes: x, z ``(B, C, H, W)``; kernel ``(C, C, k, k)`` with odd k. Source: section 3 of the paper, algorithm 2;
    Najfeld and Havel, Derivatives of the matrix exponential, 1995.
    """
    tol = 4 * torch.finfo(x.dtype).eps
    num_steps, needed = steps_and_terms(norm_bound, tol)
    num_nodes = 0 if num_terms is not None else _num_nodes(norm_bound / num_steps, tol)
    if num_steps > 1:
        kernel = kernel / num_steps
    for _ in range(num_steps):
        x = _Exponential.apply(x, kernel, needed if num_terms is None else num_terms, num_nodes)
    return x


class _Exponential(torch.autograd.Function):
    """One step of the exponential; 0 nodes stand for the exact gradient of the truncated series."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, kernel: Tensor, num_terms: int, num_nodes: int) -> Tensor:
        kernel = kernel.contiguous(memory_format=torch.channels_last)
        power, total = x, x.clone() if num_terms == 0 else x
        for i in range(1, num_terms + 1):
            power = convolve(power, kernel)
            total = total + power if i == 1 else total.add_(power, alpha=1 / math.factorial(i))
        return total

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, kernel, *ctx.sizes = inputs
        ctx.save_for_backward(x, kernel)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x, kernel), sizes = ctx.saved_tensors, ctx.sizes
        with full_precision(x):
            rows = (torch.tensor(part, dtype=x.dtype) for part in derivative_rows(*sizes))
            left, right = (part.to(x.device, non_blocking=True) for part in rows)  # no synchronization
            adjoint = adjoint_kernel(kernel)
            if not ctx.needs_input_grad[1]:
                return _combined(adjoint, grads[0], left[:1]), None, None, None
            of_x, of_nodes = _combined(adjoint, grads[0], left).tensor_split([len(x)])
            nodes = _combined(kernel, x, right)
            of_kernel = convolve_backward(of_nodes, nodes, kernel, wanted=(False, True, False))[1]
        return of_x, of_kernel, None, None


def _combined(kernel: Tensor, x: Tensor, rows: Tensor) -> Tensor:
    """Images Σₖ cₖ Mᵏ x ``(R·B, C, H, W)`` for each row c of ``(R, T)``, one after the other."""
    kernel, powers = kernel.contiguous(memory_format=torch.channels_last), [x]
    for _ in range(rows.shape[1] - 1):
        powers.append(convolve(powers[-1], kernel))
    values = torch.cat(powers).permute(0, 2, 3, 1)
    images = (rows @ values.reshape(rows.shape[1], x.numel())).reshape(rows.shape[0] * len(x), *values.shape[1:])
    return images.permute(0, 3, 1, 2)


@torch.compiler.assume_constant_result
def _num_nodes(norm_bound: float, tol: float) -> int:
    """Smallest number of nodes for an error of at most ``tol``: the m-th derivative of the integrand is below (2b)ᵐ."""
    return next(n for n in count(1) if quadrature_error(2 * norm_bound, n) <= tol)


@lru_cache
def _derivative_rows(num_terms: int, num_nodes: int) -> tuple[Rows, Rows]:
    inverse = [1 / math.factorial(i) for i in range(num_terms + 1)]
    last = max(1, num_terms)
    if num_nodes:
        rule = gauss_legendre(num_nodes)
        left = [[weight * (1 - s) ** k * inverse[k] for k in range(num_terms + 1)] for s, weight in rule]
        right = [[s**i * inverse[i] for i in range(last)] for s, _ in rule]
    else:
        sums = range(1, last + 1)
        left = [[inverse[k + i] if k + i <= num_terms else 0.0 for k in range(num_terms + 1)] for i in sums]
        right = [[float(k == i - 1) for k in range(last)] for i in sums]
    return (tuple(inverse), *map(tuple, left)), tuple(map(tuple, right))


@torch.compiler.assume_constant_result  # does not apply to a cached function
def derivative_rows(num_terms: int, num_nodes: int) -> tuple[Rows, Rows]:
    r"""Coefficients of the powers of :math:`M^T`, then of M, whose products sum to the gradient of the kernel.

    .. math:: \bar M = \sum_r \big(\textstyle\sum_k A_{rk} (M^T)^k \bar z\big) \big(\sum_i B_{ri} M^i x\big)^T

    The first row of A, 1/k!, is additional and gives the gradient of x. For 0 nodes, the sum over r is that over i.
    """
    return _derivative_rows(num_terms, num_nodes)
