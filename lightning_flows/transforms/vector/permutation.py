"""Permutations of the values of a vector."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_flows.errors import UsageError, check_sizes
from lightning_flows.transforms.linear import LinearOperator, LinearTransform


class Permutation(LinearTransform):
    r"""Permute the values: :math:`z_i = x_{\sigma(i)}`, log-determinant 0.

    Shapes: x, z ``(B, D)``. Args: ``order`` is σ(0), …, σ(D−1). Raises: UsageError if it is not a permutation.

    >>> Permutation([2, 0, 1])(torch.tensor([[1.0, 2.0, 3.0]]))[0]
    tensor([[3., 1., 2.]])
    """

    volume_preserving = True
    twice: Tensor

    def __init__(self, order: Sequence[int]) -> None:
        if sorted(order) != list(range(len(order))) or not order:
            raise UsageError(f"expected a permutation of 0 to {len(order) - 1}; got {list(order)}")
        super().__init__((len(order),))
        # 2σ + 1, because averages of weights and buffers may round integers down by one
        self.register_buffer("twice", 2 * torch.tensor(list(order)) + 1)

    def operator(self, *, update: bool = False) -> LinearOperator:
        order = self.twice // 2
        inverse = order.argsort()
        return LinearOperator(lambda x: x[:, order], lambda z: z[:, inverse], lambda x: 0.0)


class Reversal(LinearTransform):
    r"""Reverse the values: :math:`z_i = x_{D+1-i}`, log-determinant 0.

    Shapes: x, z ``(B, size)``. Raises: UsageError if ``size`` is below 1.

    >>> Reversal(3)(torch.tensor([[1.0, 2.0, 3.0]]))
    (tensor([[3., 2., 1.]]), tensor([0.]))
    """

    volume_preserving = True

    def __init__(self, size: int) -> None:
        check_sizes(size=size)
        super().__init__((size,))

    def operator(self, *, update: bool = False) -> LinearOperator:
        return LinearOperator(lambda x: x.flip(1), lambda z: z.flip(1), lambda x: 0.0)
