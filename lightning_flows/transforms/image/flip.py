"""Reversed axes."""

from torch import Tensor

from lightning_flows.errors import ShapeError
from lightning_flows.transforms.linear import LinearOperator, LinearTransform


class Flip(LinearTransform):
    """Reverse both spatial axes, so that the next causal layer looks the other way; its own inverse, log-determinant 0.

    Shapes: x, z ``(B, C, H, W)``. Raises: ShapeError for other numbers of dimensions.
    """

    def operator(self) -> LinearOperator:
        """The permutation."""
        return LinearOperator(lambda x: x.flip(2, 3), lambda z: z.flip(2, 3), lambda x: 0.0)

    def _check(self, x: Tensor) -> None:
        super()._check(x)
        if x.ndim != 4:
            raise ShapeError(f"expected shape (B, C, H, W); got {tuple(x.shape)}")
