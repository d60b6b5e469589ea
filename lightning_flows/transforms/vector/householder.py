"""Products of Householder reflections of vectors."""

from typing import Any

import torch

from lightning_flows.errors import check_sizes
from lightning_flows.functional.householder import reflect
from lightning_flows.nets.values import Values, multiply
from lightning_flows.transforms.image.conv1x1 import householder_matrix
from lightning_flows.transforms.linear import LinearOperator, LinearTransform


class VectorHouseholder(LinearTransform):
    r"""Orthogonal map, a product of reflections.

    .. math:: z = Qx, \qquad Q = \prod_i \Big(I - \frac{2 v_i v_i^T}{\|v_i\|^2}\Big), \qquad \log|\det J| = 0

    Shapes: x, z ``(B, size)``; if ``amortized``, the context ``(B, num_reflections * size)`` contains the vectors
    :math:`v_i`, none of which may be zero.
    Raises: UsageError for sizes below 1; ``num_reflections`` is ``size`` by default.
    Source: Tomczak and Welling, 2016.

    >>> import torch
    >>> layer = VectorHouseholder(2, num_reflections=1, amortized=True)
    >>> layer(torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0]]))  # reflected along the first axis
    (tensor([[-3.,  4.]]), tensor([0.]))
    """

    volume_preserving = True

    def __init__(self, size: int, *, num_reflections: int | None = None, amortized: bool = False) -> None:
        num_reflections = size if num_reflections is None else num_reflections
        check_sizes(size=size, num_reflections=num_reflections)
        super().__init__((size,))
        self.values = Values(amortized, vectors=torch.randn(num_reflections, size))
        self.num_parameters = self.values.num_parameters

    def operator(self, *, update: bool = False) -> LinearOperator:
        return self.operator_for(None, update=update)

    def operator_for(self, context: Any, *, update: bool = False) -> LinearOperator:
        (vectors,) = self.values(context)
        if self.num_parameters:
            return LinearOperator(
                lambda x: reflect(vectors, x), lambda z: reflect(vectors, z, transposed=True), lambda x: 0.0
            )
        matrix = householder_matrix(vectors)
        return LinearOperator(lambda x: multiply(matrix, x), lambda z: multiply(matrix.T, z), lambda x: 0.0)
