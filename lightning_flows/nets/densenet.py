"""Densely connected conditioners."""

import torch
from torch import Tensor, nn

from lightning_flows.nets.convnet import with_context, zero_initialized


class DenseBlock(nn.Module):
    """Layers of which each sees the outputs of all before it, then a 1x1 convolution, gated where asked for.

    A layer is 1x1, relu, 3x3, relu; its ``growth`` channels are put behind its input. The gate cuts the last
    convolution's output in three parts a, b, c and returns a + b·sigmoid(c).

    Shapes: x ``(B, in_channels, H, W)``; returns ``(B, out_channels, H, W)``. Source: Huang et al., DenseNet, 2017.
    """

    def __init__(self, in_channels: int, out_channels: int, *, depth: int, growth: int, gated: bool = True) -> None:
        super().__init__()
        widths = [in_channels + i * growth for i in range(depth + 1)]
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(n, n, 1), nn.ReLU(), nn.Conv2d(n, growth, 3, padding=1), nn.ReLU())
            for n in widths[:-1]
        )
        self.gated = gated
        self.last = nn.Conv2d(widths[-1], (3 if gated else 1) * out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers."""
        for layer in self.layers:
            x = torch.cat([x, layer(x)], dim=1)
        x = self.last(x)
        if self.gated:
            a, b, c = x.chunk(3, dim=1)
            x = a + b * torch.sigmoid(c)
        return x


class DenseNet(nn.Module):
    """1x1 convolution, dense blocks with residual connections, 1x1 convolution that is initialized to zero.

    Shapes: x ``(B, in_channels, H, W)``, context ``(B, context_channels, H, W)`` or None; returns
    ``(B, out_channels, H, W)`` in x's dtype. Raises: ShapeError if the context does not match.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 64,
        depth: int = 8,
        growth: int = 64,
        num_blocks: int = 1,
        gated: bool = True,
        context_channels: int = 0,
    ) -> None:
        super().__init__()
        self.context_channels = context_channels
        self.first = nn.Conv2d(in_channels + context_channels, width, 1)
        self.blocks = nn.ModuleList(
            DenseBlock(width, width, depth=depth, growth=growth, gated=gated) for _ in range(num_blocks)
        )
        self.last = zero_initialized(nn.Conv2d(width, out_channels, 1))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Apply to x, with the context's channels behind it."""
        h = self.first(with_context(x, context, self.context_channels))
        for block in self.blocks:
            h = h + block(h)
        return self.last(h).to(x.dtype)
