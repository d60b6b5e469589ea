"""The exponential of a zero-padded convolution, for which autograd keeps its input, its kernel and a few images."""

import math
from functools import lru_cache
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_flows.functional.convolution import adjoint_kernel, convolve, convolve_backward
from lightning_flows.functional.precision import full_precision
from lightning_flows.functional.quadrature import gauss_legendre, quadrature_error
from lightning_flows.functional.series import steps_and_terms

Rows = tuple[tuple[float, ...], ...]


def conv_exponential(
    kernel: Tensor, x: Tensor, *, norm_bound: float, num_terms: int | None = None, scale: float = 1.0
) -> Tensor:
    r"""Apply the exponential of a zero-padded convolution: :math:`z = \sum_i (s\,m) \star^i x / i!`, s = ``scale``.

    The series is that of :func:`linear_exponential`, with M = s m, but autograd keeps only the kernel, x and, above a
    norm of 2, the input of each step, and n images at the nodes of a quadrature:

    .. math:: \bar x = e^{M^T} \bar z, \qquad
              \bar M = \int_0^1 \big(e^{(1-t) M^T} \bar z\big)\, \big(e^{t M} x\big)^T\, dt
                      \approx \sum_{j=1}^n w_j \big(e^{(1-t_j) M^T} \bar z\big)\, \big(e^{t_j M} x\big)^T

    The Gauss-Legendre rule is exact to round-off, with 4 nodes in float32 if the series has 9 terms. The powers of M
    that give z also give the images exp(tⱼ M) x: one matrix product combines them. One convolution sums over the nodes.
    If ``num_terms`` is given, the gradient is exactly that of the truncated series, and the backward evaluates the
    powers again, as it does where it is differentiated itself. Not differentiable in forward mode.

    Shapes: x, z ``(B, C, H, W)``; kernel ``(C, C, k, k)`` with odd k. Source: section 3 of the paper, algorithm 2;
    Najfeld and Havel, Derivatives of the matrix exponential, 1995.

    >>> kernel = torch.zeros(1, 1, 3, 3)
    >>> kernel[..., 1, 2] = 0.5  # M x is half of the pixel to the right
    >>> conv_exponential(kernel, torch.tensor([[[[0.0, 0.0, 8.0]]]]), norm_bound=0.5)  # 8/2² · 1/2!, 8/2, 8
    tensor([[[[1., 4., 8.]]]])
    """
    tol = 4 * torch.finfo(x.dtype).eps
    num_steps, needed = steps_and_terms(norm_bound, tol)
    num_nodes = 0 if num_terms is not None else _num_nodes(norm_bound / num_steps, tol)
    series = _Series(needed if num_terms is None else num_terms, num_nodes, scale / num_steps)
    keeps_nodes = num_nodes > 0 and torch.is_grad_enabled() and kernel.requires_grad
    for _ in range(num_steps):
        x = _Exponential.apply(x, kernel, series, keeps_nodes)[0]
    return x


class _Series(NamedTuple):
    """The series of one step; 0 nodes stand for the exact gradient of the truncated series."""

    num_terms: int
    num_nodes: int
    scale: float


class _Exponential(torch.autograd.Function):
    """One step of the exponential, and the images at the nodes if they are kept, one after the other."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, kernel: Tensor, series: _Series, keeps_nodes: bool) -> tuple[Tensor, Tensor | None]:
        kernel = kernel.contiguous(memory_format=torch.channels_last)
        if keeps_nodes:
            total, nodes = _combined(kernel, x, forward_rows(*series)).tensor_split([x.shape[0]])
            return total, nodes
        power, total = x, x.clone() if series.num_terms == 0 else x
        for i in range(1, series.num_terms + 1):
            power, factor = convolve(power, kernel), series.scale**i / math.factorial(i)
            fresh = i in (1, series.num_terms)  # x and the output are not changed in place: see `_gate`
            total = torch.add(total, power, alpha=factor) if fresh else total.add_(power, alpha=factor)
        return total, None

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor | None]) -> None:
        x, kernel, ctx.series, _ = inputs
        if output[1] is not None:
            ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, kernel, output[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, kernel, nodes = ctx.saved_tensors
        if grads[0] is None:
            return None, None, None, None
        with full_precision(x):
            left, right = derivative_rows(*ctx.series)
            adjoint = adjoint_kernel(kernel)
            if not ctx.needs_input_grad[1]:
                return _combined(adjoint, grads[0], left[:1]), None, None, None
            of_x, of_nodes = _combined(adjoint, grads[0], left).tensor_split([x.shape[0]])
            if nodes is None or torch.is_grad_enabled():  # the images are no function of x and the kernel then
                nodes = _combined(kernel, x, right)
            of_kernel = convolve_backward(of_nodes, nodes, kernel, wanted=(False, True, False))[1]
        return of_x, of_kernel, None, None


def _combined(kernel: Tensor, x: Tensor, rows: Rows) -> Tensor:
    """Images Σₖ cₖ Mᵏ x ``(R·B, C, H, W)`` for each of R rows c, one after the other."""
    kernel, powers = kernel.contiguous(memory_format=torch.channels_last), [x]
    for _ in rows[0][1:]:
        powers.append(convolve(powers[-1], kernel))
    values = torch.cat(powers).permute(0, 2, 3, 1)
    matrix = torch.tensor(rows, dtype=x.dtype).to(x.device, non_blocking=True)  # no synchronization
    images = (matrix @ values.reshape(len(powers), x.numel())).reshape(len(rows) * x.shape[0], *values.shape[1:])
    return images.permute(0, 3, 1, 2)


@torch.compiler.assume_constant_result
def _num_nodes(norm_bound: float, tol: float) -> int:
    """Smallest number of nodes for an error of at most ``tol``: the m-th derivative of the integrand is below (2b)ᵐ."""
    return next(n for n in count(1) if quadrature_error(2 * norm_bound, n) <= tol)


@lru_cache
def _derivative_rows(num_terms: int, num_nodes: int, scale: float) -> tuple[Rows, Rows]:
    inverse = [scale**i / math.factorial(i) for i in range(num_terms + 1)]
    last = max(1, num_terms)
    if num_nodes:
        rule = gauss_legendre(num_nodes)
        left = [[scale * weight * (1 - t) ** k * inverse[k] for k in range(num_terms + 1)] for t, weight in rule]
        right = [[t**i * inverse[i] for i in range(last)] for t, _ in rule]
    else:
        sums = range(1, last + 1)
        left = [[inverse[k + i] if k + i <= num_terms else 0.0 for k in range(num_terms + 1)] for i in sums]
        right = [[float(k == i - 1) for k in range(last)] for i in sums]
    return (tuple(inverse), *map(tuple, left)), tuple(map(tuple, right))


@torch.compiler.assume_constant_result  # does not apply to a cached function
def derivative_rows(num_terms: int, num_nodes: int, scale: float = 1.0) -> tuple[Rows, Rows]:
    r"""Coefficients of the powers of :math:`m^T`, then of m, whose products sum to the gradient of the kernel.

    .. math:: \bar m = \sum_r \big(\textstyle\sum_k A_{rk} (m^T)^k \bar z\big) \big(\sum_i B_{ri} m^i x\big)^T

    The first row of A, sᵏ/k!, is additional and gives the gradient of x. For 0 nodes, the sum over r is that over i.

    >>> of_transposed, of_powers = derivative_rows(2, 0)
    >>> of_transposed[0], len(of_transposed), len(of_powers)
    ((1.0, 1.0, 0.5), 3, 2)
    """
    return _derivative_rows(num_terms, num_nodes, scale)


@torch.compiler.assume_constant_result
def forward_rows(num_terms: int, num_nodes: int, scale: float) -> Rows:
    r"""Coefficients of the powers of m that give the exponential, then the images at the nodes.

    .. math:: \sum_k A_{0k}\, m^k \approx \exp(s\,m), \qquad \sum_k A_{jk}\, m^k \approx \exp(s\,t_j\,m)

    s is the scale, and t are the nodes of the quadrature; without nodes, the other rows are the powers themselves.

    >>> forward_rows(2, 0, scale=1.0)  # 1, M, M²/2
    ((1.0, 1.0, 0.5), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    """
    left, right = _derivative_rows(num_terms, num_nodes, scale)
    return left[0], *((*row, 0.0) for row in right)
