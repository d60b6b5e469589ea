"""Linear maps: z = W x, with the inverse W⁻¹ and a log-determinant that does not depend on x."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from lightning_flows.functional.precision import full_precision
from lightning_flows.nets.spectral_norm import frozen_power_iteration
from lightning_flows.transforms.base import Transform, check_floating, check_input, zero_log_det


class LinearOperator(NamedTuple):
    """An invertible matrix W at the present parameters: W x, W⁻¹ z, and log|det W| for events like those of x."""

    matmul: Callable[[Tensor], Tensor]
    solve: Callable[[Tensor], Tensor]
    logabsdet: Callable[[Tensor], Tensor | float]


class LinearTransform(Transform):
    r"""A bijection :math:`z = Wx` without an offset.

    A subclass gives ``operator()``, the matrix W at the present parameters. Autocast is off here: a linear map of low
    precision could not be undone.

    Shapes: x, z ``(B, *event)``; log_det ``(B,)`` in nats.
    Raises: ShapeError if x is not ``(B, channels, H, W)`` for a layer that fixes its channels.
    """

    def __init__(self, channels: int | None = None) -> None:
        super().__init__()
        self.channels = channels

    @abstractmethod
    def operator(self) -> LinearOperator:
        """W, evaluated once for as many products as follow."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """W x and log|det W|."""
        self._check(x)
        with full_precision(x):
            operator = self.operator()
            return operator.matmul(x), zero_log_det(x) + operator.logabsdet(x)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """W⁻¹ z and −log|det W|."""
        self._check(z)
        with full_precision(z), frozen_power_iteration():
            operator = self.operator()
            x = operator.solve(z)
            return x, zero_log_det(z) - operator.logabsdet(x)

    def _check(self, x: Tensor) -> None:
        if self.channels is None:
            check_floating(x)
        else:
            check_input(x, self.channels)


class LinearCompose(LinearTransform):
    """Product of linear maps that keep the event's shape; the first is applied first: z = Wₙ … W₁ x.

    Raises: TypeError if one of them is not linear.
    """

    def __init__(self, transforms: Sequence[LinearTransform]) -> None:
        super().__init__()
        for transform in transforms:
            if not isinstance(transform, LinearTransform):
                raise TypeError(f"expected linear transforms; got {type(transform).__name__}")
        self.transforms = nn.ModuleList(transforms)

    def operator(self) -> LinearOperator:
        """Wₙ … W₁."""
        factors = [transform.operator() for transform in self.transforms]

        def matmul(x: Tensor) -> Tensor:
            for factor in factors:
                x = factor.matmul(x)
            return x

        def solve(z: Tensor) -> Tensor:
            for factor in reversed(factors):
                z = factor.solve(z)
            return z

        return LinearOperator(matmul, solve, lambda x: sum(factor.logabsdet(x) for factor in factors))

    def _check(self, x: Tensor) -> None:
        super()._check(x)
        for transform in self.transforms:
            transform._check(x)
