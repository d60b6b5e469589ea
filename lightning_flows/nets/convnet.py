"""Plain convolutional conditioner."""

import torch
from torch import Tensor, nn


def zero_initialized(layer: nn.Conv2d) -> nn.Conv2d:
    """Set weight and bias to zero: a transform conditioned by this last layer starts as the identity."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class ConvNet(nn.Sequential):
    """3x3, 1x1, 3x3 convolutions with relu between; the last starts at zero, so that a coupling starts as identity.

    Shapes: x ``(B, in_channels, H, W)``, context ``(B, context_channels, H, W)`` or None; returns
    ``(B, out_channels, H, W)`` of x's dtype.
    """

    def __init__(self, in_channels: int, out_channels: int, *, hidden_channels: int, context_channels: int = 0) -> None:
        last = zero_initialized(nn.Conv2d(hidden_channels, out_channels, 3, padding=1))
        super().__init__(
            nn.Conv2d(in_channels + context_channels, hidden_channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden_channels, hidden_channels, 1),
            nn.ReLU(),
            last,
        )

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Apply to x, with the context's channels behind it."""
        h = x if context is None else torch.cat([x, context], dim=1)
        return super().forward(h).to(x.dtype)
