"""Maps of single values."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_flows.errors import UsageError, check_positive
from lightning_flows.transforms.base import Result, Transform, sum_event


class Affine(Transform):
    r"""Normalize by a constant shift and scale.

    .. math:: z = (x - b)/s, \qquad \log|\det J| = -D \log s

    Pixel values from 0 to 256 are mapped to near the unit interval by ``Affine(shift=128, scale=256)``.
    Shapes: any ``(B, *event)`` with D values per event. Raises: UsageError if s ≤ 0.

    >>> Affine(shift=128, scale=256)(torch.tensor([[0.0, 128.0, 256.0]]))
    (tensor([[-0.5000,  0.0000,  0.5000]]), tensor([-16.6355]))
    """

    def __init__(self, shift: float, scale: float) -> None:
        super().__init__()
        check_positive(scale=scale)
        if not math.isfinite(shift):
            raise UsageError(f"expected a finite shift; got {shift}")
        self.shift, self.scale = shift, scale

    def forward(self, x: Tensor, context: Any = None) -> Result:
        return (x - self.shift) / self.scale, -math.prod(x.shape[1:]) * math.log(self.scale)

    def inverse(self, z: Tensor, context: Any = None) -> Result:
        return z * self.scale + self.shift, math.prod(z.shape[1:]) * math.log(self.scale)

    def extra_repr(self) -> str:
        return f"shift={self.shift}, scale={self.scale}"


class Bias(Transform):
    """Add a learned bias: :math:`z = x + b`, log-determinant 0.

    Axes of length one in ``event_shape`` share their value: ``(C, 1, 1)`` is a bias per channel.
    Shapes: x, z ``(B, *event_shape)``, shared axes of any length.

    >>> bias = Bias((3, 1, 1))  # initially zero
    >>> _ = bias.bias.data.copy_(torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1))
    >>> bias(torch.zeros(1, 3, 8, 8))[0].mean((2, 3)).tolist()
    [[1.0, 2.0, 3.0]]
    """

    volume_preserving = True

    def __init__(self, event_shape: Sequence[int]) -> None:
        super().__init__([n if n != 1 else None for n in event_shape])
        self.bias = nn.Parameter(torch.zeros(tuple(event_shape)))

    def forward(self, x: Tensor, context: Any = None) -> Result:
        return x + self.bias, 0.0

    def inverse(self, z: Tensor, context: Any = None) -> Result:
        return z - self.bias, 0.0


class Sigmoid(Transform):
    r"""Map real values to (0, 1).

    .. math:: z = \sigma(x) = \frac{1}{1 + e^{-x}}, \qquad \log|\det J| = \sum \log\sigma(x) + \log\sigma(-x)

    The inverse expects values in (0, 1) and is infinite at the boundary. Shapes: any ``(B, *event)``.

    >>> Sigmoid()(torch.tensor([[0.0, 2.0]]))
    (tensor([[0.5000, 0.8808]]), tensor([-3.6402]))
    """

    def forward(self, x: Tensor, context: Any = None) -> Result:
        return torch.sigmoid(x), sum_event(F.logsigmoid(x) + F.logsigmoid(-x))

    def inverse(self, z: Tensor, context: Any = None) -> Result:
        below, above = torch.log(z), torch.log1p(-z)
        return below - above, -sum_event(below + above)
