"""Plain convolutional conditioner."""

import torch
from torch import Tensor, nn

from lightning_flows.errors import ShapeError


def zero_initialized(layer: nn.Conv2d) -> nn.Conv2d:
    """Set weight and bias to zero: a transform conditioned by this last layer starts as the identity."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def with_context(x: Tensor, context: Tensor | None, channels: int) -> Tensor:
    """Concatenate x ``(B, C, H, W)`` and a context ``(B, channels, H, W)``, or None if it has no channels.

    Raises: ShapeError if the context has another shape, is missing, or is given to a net without context.
    """
    expected = (x.shape[0], channels, *x.shape[2:])
    if context is None and channels == 0:
        return x
    if context is None or channels == 0 or context.shape != expected:
        got = "none" if context is None else f"shape {tuple(context.shape)}"
        raise ShapeError(f"expected {f'a context of shape {expected}' if channels else 'no context'}; got {got}")
    return torch.cat([x, context], dim=1)


class ConvNet(nn.Sequential):
    """3x3, 1x1, 3x3 convolutions with ReLU; the last is initialized to zero, so that a coupling starts as identity.

    Shapes: x ``(B, in_channels, H, W)``, context ``(B, context_channels, H, W)`` or None; returns
    ``(B, out_channels, H, W)`` in x's dtype. Raises: ShapeError if the context does not match.
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
        self.context_channels = context_channels

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Apply to x, with the context's channels behind it."""
        return super().forward(with_context(x, context, self.context_channels)).to(x.dtype)
