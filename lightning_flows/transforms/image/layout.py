"""Permutations of the values of an image."""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from lightning_flows.errors import ShapeError
from lightning_flows.transforms.base import Result, Transform
from lightning_flows.transforms.linear import LinearOperator, LinearTransform


class Flip(LinearTransform):
    """Reverse both spatial axes, and thus the direction of the next causal layer; its own inverse, log-determinant 0.

    .. math:: z_{c,h,w} = x_{c,H-1-h,W-1-w}

    Shapes: x, z ``(B, C, H, W)``.

    >>> import torch
    >>> Flip()(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))[0]
    tensor([[[[4., 3.],
              [2., 1.]]]])
    """

    volume_preserving = True

    def __init__(self) -> None:
        super().__init__((None, None, None))

    def operator(self, *, update: bool = False) -> LinearOperator:
        return LinearOperator(lambda x: x.flip(2, 3), lambda z: z.flip(2, 3), lambda x: 0.0)


class Squeeze(Transform):
    r"""Move each 2x2 block of pixels into channels: channel 4c + 2·(row parity) + (column parity); log-determinant 0.

    .. math:: z_{4c+2i+j,h,w} = x_{c,2h+i,2w+j}, \qquad i, j \in \{0, 1\}

    Shapes: x ``(B, C, H, W)``, z ``(B, 4C, H/2, W/2)``. Raises: ShapeError for an odd height or width.
    Source: Dinh, Sohl-Dickstein and Bengio, RealNVP, 2017, section 3.6.

    >>> import torch
    >>> z, _ = Squeeze()(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    >>> z.shape, z.flatten().tolist()
    (torch.Size([1, 4, 1, 1]), [1.0, 2.0, 3.0, 4.0])
    """

    volume_preserving = True

    def __init__(self) -> None:
        super().__init__((None, None, None))

    def forward(self, x: Tensor, context: Any = None) -> Result:
        shape = self.output_shape(x.shape[1:])
        # torch does not reshape an empty batch
        return F.pixel_unshuffle(x, 2) if x.shape[0] else x.reshape(0, *shape), 0.0

    def inverse(self, z: Tensor, context: Any = None) -> Result:
        channels, height, width = z.shape[1:]
        if channels % 4:
            raise ShapeError(f"Squeeze: expected shape (B, 4C, H, W); got {tuple(z.shape)}")
        return F.pixel_shuffle(z, 2) if z.shape[0] else z.reshape(0, channels // 4, 2 * height, 2 * width), 0.0

    def output_shape(self, event_shape: Sequence[int]) -> tuple[int, ...]:
        if len(event_shape) != 3 or event_shape[1] % 2 or event_shape[2] % 2:
            raise ShapeError(f"expected events (C, H, W) of even height and width; got {tuple(event_shape)}")
        channels, height, width = event_shape
        return 4 * channels, height // 2, width // 2

    def extra_repr(self) -> str:
        return ""
