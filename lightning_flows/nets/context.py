"""What a conditional flow is told of an image."""

from torch import Tensor, nn

from lightning_flows.nets.densenet import DenseBlock


class ContextNet(nn.Sequential):
    """Dense block, 2x2 convolution of stride 2, dense block.

    Shapes: x ``(B, in_channels, H, W)`` with even H and W; returns ``(B, out_channels, H/2, W/2)``.
    """

    def __init__(self, in_channels: int, out_channels: int, *, depth: int = 4, growth: int = 32) -> None:
        super().__init__(
            DenseBlock(in_channels, out_channels, depth=depth, growth=growth),
            nn.Conv2d(out_channels, out_channels, 2, stride=2),
            DenseBlock(out_channels, out_channels, depth=depth, growth=growth),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply; the result has x's dtype."""
        return super().forward(x).to(x.dtype)
