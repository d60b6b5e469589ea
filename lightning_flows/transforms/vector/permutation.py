"""Permutations of the values of a vector."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_flows.errors import UsageError, check_sizes
from lightning_flows.transforms.linear import LinearOperator, LinearTransform


class Permutation(LinearTransform):
    r"""Permute the values: :math:`z_i = x_{\sigma(i)}`, log-determinant 0.

    Shapes: x, z ``(B, D)``. Args: ``order`` is σ(0), …, σ(D−1), which the state dict contains, so that a random one is
    restored. Raises: UsageError if it is not a permutation.

    >>> Permutation([2, 0, 1])(torch.tensor([[1.0, 2.0, 3.0]]))[0]
    tensor([[3., 1., 2.]])
    """

    volume_preserving = True

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__((len(order),))
        self.order = _checked(order, len(order))

    def operator(self, *, update: bool = False) -> LinearOperator:
        def permuted(x: Tensor, order: Sequence[int]) -> Tensor:
            return x[:, torch.tensor(order, device=x.device)]

        inverse = sorted(range(len(self.order)), key=self.order.__getitem__)
        return LinearOperator(lambda x: permuted(x, self.order), lambda z: permuted(z, inverse), lambda x: 0.0)

    # no buffer: torch.optim.swa_utils rounds averages of integers down
    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.order)

    def set_extra_state(self, state: Tensor) -> None:
        self.order = _checked(state.tolist(), len(self.order))


def _checked(order: Sequence[int], size: int) -> list[int]:
    if sorted(order) != list(range(size)) or not size:
        raise UsageError(f"expected a permutation of 0 to {size - 1}; got {list(order)}")
    return list(order)


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
