"""The exponential of a linear map of vectors."""

from typing import Any

import torch
from torch import Tensor, nn

from lightning_flows.errors import UsageError, check_sizes
from lightning_flows.functional.series import linear_exponential, matrix_exponential
from lightning_flows.nets.linear import NormalizedLinear
from lightning_flows.nets.spectral_norm import SLACK, bind
from lightning_flows.nets.values import multiply
from lightning_flows.transforms.linear import LinearOperator, LinearTransform

LARGEST = 128
"""Largest size for which exp(M) is evaluated as a matrix, which then takes less time than the series of a batch."""


class LinearExponential(LinearTransform):
    r"""The exponential of a linear map M.

    .. math:: z = \exp(M)\,x = \sum_{i \ge 0} \frac{M^i x}{i!}, \qquad \log|\det J| = \operatorname{tr} M, \qquad
              x = \exp(-M)\,z

    By default M is a dense matrix, and spectral normalization keeps its norm below ``max_norm``. Up to a size of 128
    the matrices exp(M) and exp(−M) are evaluated once per call; above that, and for a given ``linear``, the series is
    applied to x. The number of terms follows from the norm and the precision of x's dtype, see
    :func:`linear_exponential`.

    Shapes: x, z ``(B, size)``; with a given ``linear``, whatever it preserves if ``size`` is None.
    Args:
        size: D.
        max_norm: bound on the norm of the dense matrix.
        linear: M as a module, which replaces the matrix. Calling it, or the function that its ``bind(update=…)``
            returns if it has that method, maps v to Mv. ``trace()`` is the trace of M as a scalar tensor, and
            ``norm_bound``, a number, is at least its norm: the result is wrong if it is not.

    Raises: UsageError for a size below 1. Source: section 3 of the paper, equations 3 to 6.

    >>> class Shift(nn.Module):  # M x = (x₂, x₃, 0)
    ...     norm_bound = 1.0
    ...     def forward(self, v):
    ...         return torch.nn.functional.pad(v[:, 1:], (0, 1))
    ...     def trace(self):
    ...         return torch.tensor(0.0)
    >>> LinearExponential(3, linear=Shift())(torch.tensor([[0.0, 0.0, 2.0]]))[0]
    tensor([[1., 2., 2.]])
    """

    def __init__(self, size: int | None, *, max_norm: float = 0.95, linear: nn.Module | None = None) -> None:
        if size is not None:
            check_sizes(size=size)
        elif linear is None:
            raise UsageError("expected a size or a linear map; got neither")
        super().__init__(None if size is None else (size,))
        self.linear: Any = linear
        if size is not None and linear is None:
            self.linear = NormalizedLinear(torch.randn(size, size) / size, bias=False, max_norm=max_norm)
        self.max_norm = max_norm if linear is None else None

    @property
    def norm_bound(self) -> float:
        """Bound on the norm of M; that of a given map may change with its weights."""
        return float(self.linear.norm_bound) if self.max_norm is None else SLACK * self.max_norm

    def operator(self, *, update: bool = False) -> LinearOperator:
        if not isinstance(self.linear, NormalizedLinear):
            return self._series(bind(self.linear, update=update), self.linear.trace())
        matrix = self.linear.matrix(update=update)
        trace = matrix.diagonal().sum()
        if len(matrix) > LARGEST:
            return self._series(lambda v: multiply(matrix, v), trace)
        forth, back = matrix_exponential(torch.stack([matrix, -matrix]), norm_bound=self.norm_bound)
        return LinearOperator(lambda x: multiply(forth, x), lambda z: multiply(back, z), lambda x: trace)

    def _series(self, linear: Any, trace: Tensor) -> LinearOperator:
        return LinearOperator(
            lambda x: linear_exponential(linear, x, norm_bound=self.norm_bound),
            lambda z: linear_exponential(lambda v: -linear(v), z, norm_bound=self.norm_bound),
            lambda x: trace,
        )
