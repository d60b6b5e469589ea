"""Orthogonal 1x1 convolutions as products of reflections."""

import torch
from torch import Tensor, nn

from lightning_flows.errors import UsageError
from lightning_flows.transforms.image.conv1x1 import multiply_channels
from lightning_flows.transforms.linear import LinearOperator, LinearTransform


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


class Householder(LinearTransform):
    r"""Orthogonal matrix over the channels of each pixel: z = Q x with Q a product of reflections; log-determinant 0.

    Shapes: x, z ``(B, C, H, W)``. Raises: ShapeError if x has another number of channels; ValueError if
    ``num_reflections`` < 1. Source: Tomczak and Welling, 2016; Hoogeboom et al., 2019.
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
            lambda x: multiply_channels(matrix, x),
            lambda z: multiply_channels(matrix.T, z),
            lambda x: 0.0,
        )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, num_reflections={len(self.vectors)}"
