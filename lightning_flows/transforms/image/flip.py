"""Reversed axes."""

from lightning_flows.transforms.linear import LinearOperator, LinearTransform


class Flip(LinearTransform):
    """Reverse both spatial axes, so that the next causal layer looks the other way; its own inverse, log-determinant 0.

    Shapes: x, z ``(B, C, H, W)``.
    """

    volume_preserving = True

    def __init__(self) -> None:
        super().__init__((None, None, None))

    def operator(self, *, update: bool = False) -> LinearOperator:
        return LinearOperator(lambda x: x.flip(2, 3), lambda z: z.flip(2, 3), lambda x: 0.0)
