"""1x1 convolutions: one matrix over the channels of every pixel."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_flows.errors import check_sizes
from lightning_flows.functional.precision import full_precision
from lightning_flows.transforms.linear import LinearOperator, LinearTransform


class Conv1x1(LinearTransform):
    r"""Multiply the channels of each pixel by one matrix, initialized to a random orthogonal one.

    .. math:: z_{:,h,w} = W x_{:,h,w}, \qquad \log|\det J| = HW \log|\det W|

    Shapes: x, z ``(B, C, H, W)``. Source: Glow, 2018, section 3.2.

    >>> x = torch.randn(2, 3, 4, 4)
    >>> z, log_det = Conv1x1(3)(x)  # initially orthogonal
    >>> torch.allclose(z.norm(dim=1), x.norm(dim=1), atol=1e-4), torch.allclose(log_det, torch.zeros(2), atol=1e-4)
    (True, True)
    """

    def __init__(self, channels: int) -> None:
        super().__init__((channels, None, None))
        self.weight = nn.Parameter(nn.init.orthogonal_(torch.empty(channels, channels)))

    def operator(self, *, update: bool = False) -> LinearOperator:
        return LinearOperator(
            lambda x: multiply_channels(self.weight, x),
            lambda z: multiply_channels(torch.linalg.inv(self.weight), z),
            lambda x: x.shape[2] * x.shape[3] * torch.linalg.slogdet(self.weight).logabsdet,
        )


class Householder(LinearTransform):
    r"""Orthogonal matrix over the channels of each pixel: z = Q x with Q a product of reflections; log-determinant 0.

    .. math:: z_{:,h,w} = Q x_{:,h,w}, \qquad Q = \prod_i \Big(I - \frac{2 v_i v_i^T}{\|v_i\|^2}\Big)

    Shapes: x, z ``(B, C, H, W)``. Raises: UsageError if ``num_reflections`` < 1; it is C by default.
    Source: Tomczak and Welling, 2016; Hoogeboom et al., 2019.

    >>> x = torch.randn(2, 3, 4, 4)
    >>> z, log_det = Householder(3)(x)
    >>> torch.allclose(z.norm(dim=1), x.norm(dim=1), atol=1e-4), log_det
    (True, tensor([0., 0.]))
    """

    volume_preserving = True

    def __init__(self, channels: int, *, num_reflections: int | None = None) -> None:
        super().__init__((channels, None, None))
        num_reflections = channels if num_reflections is None else num_reflections
        check_sizes(num_reflections=num_reflections)
        self.vectors = nn.Parameter(torch.randn(num_reflections, channels))

    def operator(self, *, update: bool = False) -> LinearOperator:
        matrix = householder_matrix(self.vectors)
        return LinearOperator(
            lambda x: multiply_channels(matrix, x), lambda z: multiply_channels(matrix.T, z), lambda x: 0.0
        )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, num_reflections={len(self.vectors)}"


def householder_matrix(vectors: Tensor) -> Tensor:
    r"""Product of the reflections :math:`H_i = I - 2 v_i v_i^T/\|v_i\|^2`, the first on the left: ``(C, C)``.

    .. math:: H_1 \cdots H_k = I - V^T S^{-1} V, \qquad
              S = \tfrac12 \operatorname{diag}(VV^T) + \operatorname{triu}(VV^T, 1)

    One triangular solve instead of k products. Autograd keeps only V. Shapes: vectors V ``(k, C)``, none of them zero.
    Source: Joffrain et al., Accumulating Householder transformations, revisited, 2006.
    """
    return _Reflections.apply(vectors)


class _Reflections(torch.autograd.Function):
    r"""The product of reflections Q.

    .. math:: \bar V = (P + P^T) V - A - B, \qquad A = S^{-T} V \bar Q, \quad B = S^{-1} V \bar Q^T, \quad
              P + P^T = \operatorname{triu}(H) + \operatorname{triu}(H, 1)^T, \quad H = A (S^{-1} V)^T
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(vectors: Tensor) -> Tensor:
        identity = torch.eye(vectors.shape[1], dtype=vectors.dtype, device=vectors.device)
        solved = torch.linalg.solve_triangular(_triangle(vectors), vectors, upper=True)
        return torch.addmm(identity, vectors.T, solved, alpha=-1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (vectors,) = ctx.saved_tensors
        with full_precision(vectors):
            triangle, (grad,) = _triangle(vectors), grads
            solved = torch.linalg.solve_triangular(triangle, vectors, upper=True)
            a = torch.linalg.solve_triangular(triangle.T, vectors, upper=False) @ grad
            b = torch.addmm(a, solved, grad.T)
            upper = (a @ solved.T).triu()
            return torch.addmm(b, upper + upper.triu(1).T, vectors, beta=-1)


def _triangle(vectors: Tensor) -> Tensor:
    """S; its lower triangle, which no solver reads, is not zero."""
    gram = vectors @ vectors.T
    gram.diagonal().mul_(0.5)
    return gram


def multiply_channels(matrix: Tensor, x: Tensor) -> Tensor:
    """Multiply the channels of each pixel of x ``(B, C, H, W)`` by a matrix ``(C, C)``."""
    return F.conv2d(x, matrix[:, :, None, None])
