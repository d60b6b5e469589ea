"""The layers of the original Sylvester flows."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from lightning_flows.errors import UsageError, check_sizes
from lightning_flows.functional.orthonormal import orthonormal_columns
from lightning_flows.nets.triangular import TriangularSylvesterFunction
from lightning_flows.nets.values import Values, multiply
from lightning_flows.transforms.linear import Basis, LinearCompose, LinearOperator
from lightning_flows.transforms.sylvester import GeneralizedSylvester
from lightning_flows.transforms.vector.householder import VectorHouseholder
from lightning_flows.transforms.vector.permutation import Reversal

BasisKind = Literal["orthogonal", "householder", "triangular"]


class OrthonormalColumns(nn.Module, Basis):
    r"""The basis :math:`W = Q^T` with M orthonormal columns Q ``(size, M)``, see :func:`orthonormal_columns`.

    If ``amortized``, the context ``(B, size * M)`` contains the matrix to orthonormalize for each sample.
    Raises: UsageError unless 1 ≤ M ≤ ``size``.
    """

    def __init__(self, size: int, columns: int, *, amortized: bool = False) -> None:
        super().__init__()
        check_sizes(size=size, columns=columns)
        if columns > size:
            raise UsageError(f"expected at most {size} columns for vectors of {size} values; got {columns}")
        self.event_shape = (size,)
        self.values = Values(amortized, matrix=nn.init.orthogonal_(torch.empty(size, columns)))
        self.num_parameters = self.values.num_parameters

    def columns(self, context: Any = None) -> Tensor:
        """Q ``(size, M)``, or ``(B, size, M)`` if it is amortized."""
        return orthonormal_columns(self.values(context)[0])

    def operator_for(self, context: Any, *, update: bool = False) -> LinearOperator:
        q = self.columns(context)
        return LinearOperator(lambda x: multiply(q.mT, x), lambda y: multiply(q, y), lambda x: 0.0)


class OriginalSylvester(GeneralizedSylvester):
    r"""A layer of the original Sylvester flows: one hidden layer between triangular matrices, in another basis.

    .. math:: z = x + Q R_1 \tanh(R_2 Q^T x + b), \qquad
              \log|\det J| = \sum_i \log\big(1 + (R_1)_{ii} (R_2)_{ii}\,(1 - \tanh^2(R_2 Q^T x + b)_i)\big)

    For R₁ and R₂ see :class:`TriangularSylvesterFunction`. ``basis`` determines Q:

    * ``orthogonal``: M = ``columns`` orthonormal columns;
    * ``householder``: a square matrix, the product of ``num_reflections`` reflections;
    * ``triangular``: the identity, or the reversal if ``reverse``.

    The inverse is that of :class:`GeneralizedSylvester`, in M dimensions.

    Shapes: x, z ``(B, size)``; if ``amortized``, the context ``(B, num_parameters)`` contains the parameters of R₁, R₂
    and b, followed by those of Q, for each sample.
    Raises: UsageError for more columns than ``size``, sizes below 1 or an unknown basis.
    Source: van den Berg et al., Sylvester Normalizing Flows for Variational Inference, 2018.

    >>> layer = OriginalSylvester(6, columns=2)
    >>> x = torch.randn(4, 6)
    >>> z, log_det = layer(x)
    >>> torch.allclose(layer.inverse(z)[0], x, atol=1e-4), log_det.shape
    (True, torch.Size([4]))
    """

    def __init__(
        self,
        size: int,
        *,
        basis: BasisKind = "orthogonal",
        columns: int = 8,
        num_reflections: int = 8,
        reverse: bool = False,
        amortized: bool = False,
        max_iter: int = 200,
    ) -> None:
        columns = columns if basis == "orthogonal" else size
        super().__init__(
            original_basis(basis, size, columns, num_reflections, reverse=reverse, amortized=amortized),
            TriangularSylvesterFunction(columns, amortized=amortized),
            max_iter=max_iter,
        )
        self.event_shape = (size,)


def original_basis(
    kind: BasisKind, size: int, columns: int, num_reflections: int, *, reverse: bool, amortized: bool
) -> Basis:
    """The basis of an :class:`OriginalSylvester`; see there."""
    if kind == "orthogonal":
        return OrthonormalColumns(size, columns, amortized=amortized)
    if kind == "householder":
        return VectorHouseholder(size, num_reflections=num_reflections, amortized=amortized)
    if kind == "triangular":
        return Reversal(size) if reverse else LinearCompose([])
    raise UsageError(f"expected a basis among orthogonal, householder, triangular; got {kind!r}")
