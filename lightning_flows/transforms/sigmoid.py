"""The logistic function."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_flows.transforms.base import Transform, sum_event


class Sigmoid(Transform):
    r"""From the reals to (0, 1).

    .. math:: z = \sigma(x) = \frac{1}{1 + e^{-x}}, \qquad \log|\det J| = \sum \log\sigma(x) + \log\sigma(-x)

    The inverse expects values in (0, 1); at the borders it is infinite.
    Shapes: any ``(B, *event)``; log_det ``(B,)`` in nats.
    """

    def forward(self, x: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        return torch.sigmoid(x), sum_event(F.logsigmoid(x) + F.logsigmoid(-x))

    def inverse(self, z: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        below, above = torch.log(z), torch.log1p(-z)
        return below - above, -sum_event(below + above)
