"""Networks whose Lipschitz constant is below one."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_flows.errors import UsageError
from lightning_flows.nets.spectral_norm import NormalizedConv2d, bind, default_kernel


class LipSwish(nn.Module):
    r"""Swish with slope at most one: :math:`f(y) = y\,\sigma(sy)/1.1`, with :math:`s = \operatorname{softplus}\beta`.

    Its derivatives are explicit, so that a graph of derivatives saves only y. Source: Chen et al., 2019.
    """

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.tensor([0.5]))

    def forward(self, y: Tensor) -> Tensor:
        s = F.softplus(self.beta)
        return (y * torch.sigmoid(s * y) if torch.compiler.is_compiling() else _Swish.apply(y, s)) / 1.1


class _Swish(torch.autograd.Function):
    """y σ(sy); s is a scalar."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, s: Tensor) -> Tensor:
        ctx.save_for_backward(y, s)
        return y * torch.sigmoid(s * y)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        return _SwishBackward.apply(grads[0], *ctx.saved_tensors)


class _SwishBackward(torch.autograd.Function):
    """g ∂/∂y and Σ g ∂/∂s of y σ(sy), for an incoming gradient g."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, y: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(g, y, s)
        sigma = torch.sigmoid(s * y)
        bend = y * sigma * (1 - sigma)
        return g * (sigma + s * bend), (g * y * bend).sum().reshape(s.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        g, y, s = ctx.saved_tensors
        of_y, of_s = grads
        sigma = torch.sigmoid(s * y)
        slope = sigma * (1 - sigma)
        curve = slope * (2 + s * y * (1 - 2 * sigma))  # ∂²/∂y² is s times this, ∂²/∂y∂s is y times this
        of_g = of_y * (sigma + s * y * slope) + of_s * y * y * slope
        of_y2 = g * curve * (of_y * s + of_s * y)
        of_s2 = (g * y * (of_y * curve + of_s * y * y * slope * (1 - 2 * sigma))).sum().reshape(s.shape)
        return of_g, of_y2, of_s2


class LipschitzConvNet(nn.Sequential):
    r"""3x3, 1x1, 3x3 convolutions with LipSwish between them; a contraction.

    .. math:: \operatorname{Lip}(g) \le \prod_i \|W_i\| \le c^3 < 1

    with c = ``max_norm``. Each forward in train mode takes five steps of each power iteration, which lags behind fast
    weight updates: at a learning rate of 1e-3 the product stays within the margin of 6 % at c = 0.98; at 4e-3 it
    exceeded c³ by 10 %, which requires c ≤ 0.95.

    Shapes: x ``(B, *event_shape)`` with event_shape (C, H, W); returns the same shape and dtype.
    Raises: UsageError unless 0 < c < 1. Source: Behrmann et al., 2019; Chen et al., 2019.
    """

    def __init__(self, event_shape: Sequence[int], hidden_channels: int, *, max_norm: float = 0.98) -> None:
        if not 0 < max_norm < 1:
            raise UsageError(f"expected max_norm between 0 and 1; got {max_norm}")
        channels, *size = event_shape

        def conv(in_channels: int, out_channels: int, kernel_size: int) -> NormalizedConv2d:
            kernel, side = default_kernel(out_channels, in_channels, kernel_size, kernel_size), kernel_size // 2
            return NormalizedConv2d(kernel, size, padding=(side,) * 4, max_norm=max_norm, margin=0.0, num_steps=5)

        super().__init__(
            conv(channels, hidden_channels, 3),
            LipSwish(),
            conv(hidden_channels, hidden_channels, 1),
            LipSwish(),
            conv(hidden_channels, channels, 3),
        )

    def bind(self, *, update: bool = False) -> Callable[[Tensor], Tensor]:
        """Return the net as a function whose kernels are evaluated once."""
        layers = [bind(layer, update=update) for layer in self]

        def apply(x: Tensor) -> Tensor:
            h = x
            for layer in layers:
                h = layer(h)
            return h.to(x.dtype)

        return apply

    def forward(self, x: Tensor) -> Tensor:
        return self.bind(update=True)(x)
