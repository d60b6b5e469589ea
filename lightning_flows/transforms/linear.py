"""Linear maps: z = W x, with the inverse W⁻¹ and a log-determinant that does not depend on x."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from lightning_flows.errors import ShapeError
from lightning_flows.functional.precision import full_precision
from lightning_flows.functional.solver import Solver
from lightning_flows.nets.values import split_context
from lightning_flows.transforms.base import Result, Shape, Transform


class LinearOperator(NamedTuple):
    """An invertible matrix W, evaluated once: W x, W⁻¹ z, and log|det W| for events like x (``()`` or a float)."""

    matmul: Callable[[Tensor], Tensor]
    solve: Callable[[Tensor], Tensor]
    logabsdet: Callable[[Tensor], Tensor | float]


class Basis(ABC):
    """What a Sylvester layer needs of its basis: linear maps W and V with WV = I, ``matmul`` and ``solve``.

    Any invertible W with V = W⁻¹ is one, that is any :class:`LinearTransform`, and so is :math:`W = Q^T`, V = Q for a
    matrix Q of fewer columns than rows that are orthonormal.
    """

    event_shape: Shape | None
    num_parameters: int

    @abstractmethod
    def operator_for(self, context: Any, *, update: bool = False) -> LinearOperator:
        """Evaluate W and V once for the samples of a context; ``update`` steps power iterations in train mode."""


class LinearTransform(Transform, Basis):
    r"""A bijection :math:`z = Wx` without an offset.

    A subclass implements ``operator()``. Autocast is disabled: a low-precision linear map cannot be inverted.
    If ``num_parameters`` is not zero, W differs between samples, and ``operator_for(context)`` is what evaluates it.
    Shapes: x, z ``(B, *event)``; log_det ``(B,)`` in nats.

    >>> import torch
    >>> class Negation(LinearTransform):
    ...     def operator(self, *, update=False):
    ...         return LinearOperator(matmul=torch.neg, solve=torch.neg, logabsdet=lambda x: 0.0)
    >>> Negation()(torch.ones(2, 3))
    (tensor([[-1., -1., -1.],
            [-1., -1., -1.]]), tensor([0., 0.]))
    """

    @abstractmethod
    def operator(self, *, update: bool = False) -> LinearOperator:
        """Evaluate W once; ``update`` steps the power iterations of modules in train mode."""

    def operator_for(self, context: Any, *, update: bool = False) -> LinearOperator:
        """Evaluate W once for the samples of a context; ``update`` as in :meth:`operator`."""
        return self.operator(update=update)

    def forward(self, x: Tensor, context: Any = None) -> Result:
        with full_precision(x):
            operator = self.operator_for(context, update=True)
            return operator.matmul(x), operator.logabsdet(x)

    def inverse(self, z: Tensor, context: Any = None) -> Result:
        with full_precision(z):
            operator = self.operator_for(context)
            return operator.solve(z), -operator.logabsdet(z)

    def decode(self, z: Tensor, context: Any = None, solver: Solver | None = None) -> Tensor:
        with full_precision(z):
            return self.operator_for(context).solve(z)


class LinearCompose(LinearTransform):
    r"""Product of linear maps that preserve the shape: :math:`z = W_n \cdots W_1 x`.

    The context consists of those of the factors that take one, one after another. Shapes: x, z those of the factors.
    Raises: TypeError if one of them is not linear; ShapeError if their shapes differ.

    >>> import torch
    >>> from lightning_flows.transforms import Permutation, Reversal
    >>> LinearCompose([Permutation([1, 2, 0]), Reversal(3)])(torch.tensor([[1.0, 2.0, 3.0]]))
    (tensor([[1., 3., 2.]]), tensor([0.]))
    """

    def __init__(self, transforms: Sequence[LinearTransform]) -> None:
        for transform in transforms:
            if not isinstance(transform, LinearTransform):
                raise TypeError(f"expected linear transforms; got {type(transform).__name__}")
        super().__init__(_common_shape([t.event_shape for t in transforms if t.event_shape is not None]))
        self.transforms = nn.ModuleList(transforms)
        self.volume_preserving = all(transform.volume_preserving for transform in transforms)
        self.sizes = [transform.num_parameters for transform in transforms]
        self.num_parameters = sum(self.sizes)

    def operator(self, *, update: bool = False) -> LinearOperator:
        return self.operator_for(None, update=update)

    def operator_for(self, context: Any, *, update: bool = False) -> LinearOperator:
        pairs = zip(self.transforms, split_context(context, self.sizes), strict=True)
        factors = [transform.operator_for(part, update=update) for transform, part in pairs]

        def matmul(x: Tensor) -> Tensor:
            for factor in factors:
                x = factor.matmul(x)
            return x

        def solve(z: Tensor) -> Tensor:
            for factor in reversed(factors):
                z = factor.solve(z)
            return z

        return LinearOperator(matmul, solve, lambda x: sum(factor.logabsdet(x) for factor in factors))

    def extra_repr(self) -> str:
        return ""  # the factors show the shape


def _common_shape(shapes: Sequence[Shape]) -> Shape | None:
    """Merge shapes, with None only for axes that none of them fixes; None without shapes."""
    axes = [set(axis) - {None} for axis in zip(*shapes, strict=True)]
    if any(len(axis) > 1 for axis in axes):
        raise ShapeError(f"expected transforms of the same shape; got {', '.join(map(str, shapes))}")
    return tuple(axis.pop() if axis else None for axis in axes) if shapes else None
