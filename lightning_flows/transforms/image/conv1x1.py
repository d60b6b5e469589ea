"""1x1 convolutions: one matrix over the channels of every pixel."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_flows.transforms.linear import LinearOperator, LinearTransform


class Conv1x1(LinearTransform):
    r"""Multiply the channels of each pixel by one matrix.

    .. math:: z_{:,h,w} = W x_{:,h,w}, \qquad \log|\det J| = HW \log|\det W|

    W starts as a random orthogonal matrix. Shapes: x, z ``(B, C, H, W)``; log_det ``(B,)`` in nats.
    Raises: ShapeError if x has another number of channels. Source: Glow, 2018, section 3.2.
    """

    def __init__(self, channels: int) -> None:
        super().__init__((channels, None, None))
        self.weight = nn.Parameter(nn.init.orthogonal_(torch.empty(channels, channels)))

    def operator(self, *, update: bool = False) -> LinearOperator:
        weight = self.weight
        return LinearOperator(
            lambda x: multiply_channels(weight, x),
            lambda z: multiply_channels(torch.linalg.inv(weight), z),
            lambda x: x.shape[2] * x.shape[3] * torch.linalg.slogdet(weight).logabsdet,
        )


def multiply_channels(matrix: Tensor, x: Tensor) -> Tensor:
    """Matrix ``(C, C)`` times the channels of each pixel of x ``(B, C, H, W)``."""
    return F.conv2d(x, matrix[:, :, None, None])
