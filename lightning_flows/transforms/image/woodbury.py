"""Woodbury transformations over the positions of an image."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_flows.errors import check_sizes
from lightning_flows.functional.shapes import image_shape
from lightning_flows.transforms.linear import LinearOperator, LinearTransform


class Woodbury(LinearTransform):
    r"""Low-rank perturbation of the identity over the H·W positions of each channel.

    .. math:: z = (I + UV)\,x, \qquad (I + UV)^{-1} = I - U (I + VU)^{-1} V, \qquad
              \log|\det J| = C \log|\det(I + VU)|

    Shapes: x, z ``(B, *event_shape)`` with event_shape (C, H, W); U ``(HW, rank)``, V ``(rank, HW)``.
    Raises: UsageError for a rank below 1. Source: Lu and Huang, Woodbury Transformations, 2020.

    >>> layer = Woodbury((3, 4, 4), rank=2)
    >>> z, log_det = layer(torch.randn(5, 3, 4, 4))
    >>> full = torch.eye(16) + layer.left @ layer.right
    >>> torch.allclose(log_det, 3 * full.logdet(), atol=1e-4)
    True
    """

    def __init__(self, event_shape: Sequence[int], *, rank: int = 24) -> None:
        check_sizes(rank=rank)
        _, height, width = image_shape(event_shape)
        super().__init__(event_shape)
        positions = height * width
        self.left = nn.Parameter(torch.randn(positions, rank) / positions)
        self.right = nn.Parameter(torch.randn(rank, positions) / positions)

    def operator(self, *, update: bool = False) -> LinearOperator:
        left, right = self.left, self.right
        small = torch.eye(right.shape[0], dtype=right.dtype, device=right.device) + right @ left

        def add(x: Tensor, left: Tensor) -> Tensor:
            positions = x.permute(0, 2, 3, 1).flatten(1, 2)  # (B, HW, C): no copy in the layout channels_last
            return (positions + left @ (right @ positions)).unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)

        return LinearOperator(
            lambda x: add(x, left),
            lambda z: add(z, -left @ torch.linalg.inv(small)),
            lambda x: x.shape[1] * torch.linalg.slogdet(small).logabsdet,
        )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, rank={len(self.right)}"
