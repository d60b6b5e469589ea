"""Fully connected conditioner."""

import itertools
from typing import Any

from torch import Tensor, nn


class MLP(nn.Module):
    """Linear layers with SiLU between; the last starts at zero, so that a coupling starts as the identity.

    Shapes: x ``(B, in_channels, 1, 1)``, as couplings give it; returns ``(B, out_channels, 1, 1)`` of x's dtype.
    """

    def __init__(self, in_channels: int, out_channels: int, *, width: int, depth: int) -> None:
        super().__init__()
        widths = [in_channels, *[width] * depth]
        layers = [part for n, m in itertools.pairwise(widths) for part in (nn.Linear(n, m), nn.SiLU())]
        last = nn.Linear(widths[-1], out_channels)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(*layers, last)

    def forward(self, x: Tensor, context: Any = None) -> Tensor:
        """Apply to x; it knows of no context."""
        return self.layers(x.flatten(1))[..., None, None].to(x.dtype)
