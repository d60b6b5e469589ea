"""The function of original Sylvester flows."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lightning_flows.errors import check_sizes
from lightning_flows.functional.precision import full_precision
from lightning_flows.nets.values import Values, multiply

Pair = tuple[Tensor, Tensor]


class TriangularSylvesterFunction(nn.Module):
    r"""One hidden layer between two triangular matrices, and the diagonal of its Jacobian.

    .. math:: f(y) = R_1 \tanh(p), \quad p = R_2\, y + b, \qquad
              \partial f_i/\partial y_i = \tanh(d_1)_i \tanh(d_2)_i\,(1 - \tanh^2 p_i) \in (-1, 1)

    R₁ and R₂ are upper triangular with the diagonals tanh(d₁) and tanh(d₂). Above the diagonal, R₁ is the upper
    triangle of one matrix, and R₂ that of its transpose.

    Shapes: y ``(B, size)``; returns f(y) and the diagonal, of y's shape. If ``amortized``, the function takes a context
    ``(B, num_parameters)``, the values of the matrix, d₁, d₂ and b of each sample.
    Source: van den Berg et al., Sylvester Normalizing Flows, 2018.

    >>> function, y = TriangularSylvesterFunction(3), torch.randn(1, 3)
    >>> jacobian = torch.autograd.functional.jacobian(lambda y: function(y)[0][0], y)[:, 0]
    >>> torch.equal(jacobian, jacobian.triu()), torch.allclose(function(y)[1][0], jacobian.diagonal(), atol=1e-6)
    (True, True)
    """

    def __init__(self, size: int, *, amortized: bool = False) -> None:
        super().__init__()
        check_sizes(size=size)
        zeros = torch.zeros(size)
        matrix = 0.1 * torch.randn(size, size) / size**0.5
        self.values = Values(
            amortized, matrix=matrix, diagonal1=zeros, diagonal2=0.1 * torch.randn(size), bias=zeros.clone()
        )
        self.num_parameters = self.values.num_parameters

    def bind(self, *, update: bool = False) -> Callable[..., Pair]:
        """Return the function of y and the context."""
        return self._of

    def forward(self, y: Tensor, context: Any = None) -> Pair:
        return self._of(y, context)

    def _of(self, y: Tensor, context: Any = None) -> Pair:
        with full_precision(y):  # all of it enters the inverse or the log-determinant
            matrix, d1, d2, bias = self.values(context)
            d1, d2 = torch.tanh(d1), torch.tanh(d2)
            h = torch.tanh(multiply(matrix.tril(-1).mT, y) + d2 * y + bias)
            return multiply(matrix.triu(1), h) + d1 * h, d1 * d2 * (1 - h * h)
