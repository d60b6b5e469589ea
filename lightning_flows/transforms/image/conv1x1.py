"""1x1 convolutions: one matrix over the channels of every pixel."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_flows.errors import UsageError
from lightning_flows.transforms.linear import LinearOperator, LinearTransform


class Conv1x1(LinearTransform):
    r"""Multiply the channels of each pixel by one matrix, initialized to a random orthogonal one.

    .. math:: z_{:,h,w} = W x_{:,h,w}, \qquad \log|\det J| = HW \log|\det W|

    Shapes: x, z ``(B, C, H, W)``. Source: Glow, 2018, section 3.2.
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

    Shapes: x, z ``(B, C, H, W)``. Raises: UsageError if ``num_reflections`` < 1; it is C by default.
    Source: Tomczak and Welling, 2016; Hoogeboom et al., 2019.
    """

    volume_preserving = True

    def __init__(self, channels: int, *, num_reflections: int | None = None) -> None:
        super().__init__((channels, None, None))
        num_reflections = channels if num_reflections is None else num_reflections
        if num_reflections < 1:
            raise UsageError(f"expected at least one reflection; got {num_reflections}")
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

    One triangular solve instead of k products. Shapes: vectors V ``(k, C)``, none of them zero.
    Source: Joffrain et al., Accumulating Householder transformations, revisited, 2006.
    """
    gram = vectors @ vectors.T
    upper = torch.triu(gram, 1) + torch.diag(gram.diagonal() / 2)
    identity = torch.eye(vectors.shape[1], dtype=vectors.dtype, device=vectors.device)
    return identity - vectors.T @ torch.linalg.solve_triangular(upper, vectors, upper=True)


def multiply_channels(matrix: Tensor, x: Tensor) -> Tensor:
    """Multiply the channels of each pixel of x ``(B, C, H, W)`` by a matrix ``(C, C)``."""
    return F.conv2d(x, matrix[:, :, None, None])
