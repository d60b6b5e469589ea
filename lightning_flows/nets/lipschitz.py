"""Networks whose Lipschitz constant is below one."""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_flows.nets.spectral_norm import SpectralNorm, default_kernel


class LipSwish(nn.Module):
    r"""Swish of slope at most one: :math:`y\,\sigma(y \operatorname{softplus}\beta)/1.1`. Source: Chen et al., 2019."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.tensor([0.5]))

    def forward(self, y: Tensor) -> Tensor:
        """Apply to each value."""
        slope = F.softplus(self.beta)
        return y * torch.sigmoid(y * slope) / 1.1


class LipschitzConv2d(nn.Module):
    """Convolution whose operator norm at pictures of ``size`` is at most ``coefficient``.

    Shapes: x ``(B, in_channels, H, W)``; returns ``(B, out_channels, H, W)``.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel_size: int, size: Sequence[int], coefficient: float
    ) -> None:
        super().__init__()
        self.padding = kernel_size // 2
        self.weight = nn.Parameter(default_kernel(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.spectral_norm = SpectralNorm(
            self.weight, size, padding=(self.padding,) * 4, coefficient=coefficient, margin=0.0, num_steps=5
        )

    def kernel(self) -> Tensor:
        """The normalised kernel that the convolution uses."""
        return self.spectral_norm(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        kernel = self.kernel().contiguous(memory_format=torch.channels_last)
        return F.conv2d(x, kernel, self.bias, padding=self.padding)


class LipschitzConvNet(nn.Sequential):
    r"""3x3, 1x1, 3x3 convolutions with LipSwish between; a contraction.

    .. math:: \operatorname{Lip}(g) \le \prod_i \|W_i\| \le c^3 < 1

    with ``coefficient`` c. Each forward in train mode takes five steps of each power iteration. Where weights move fast
    these lag behind: at a learning rate of 1e-3 the product stays within the 6 % that c = 0.98 leaves; at 4e-3 it was
    seen 10 % above c³, which asks for c of at most 0.95.

    Shapes: x ``(B, C, H, W)`` with ``event_shape`` (C, H, W); returns the same shape and dtype.
    Raises: ValueError unless 0 < c < 1. Source: Behrmann et al., 2019; Chen et al., 2019.
    """

    def __init__(self, event_shape: Sequence[int], hidden_channels: int, *, coefficient: float = 0.98) -> None:
        if not 0 < coefficient < 1:
            raise ValueError(f"expected a coefficient between 0 and 1; got {coefficient}")
        channels, *size = event_shape
        conv = partial(LipschitzConv2d, size=size, coefficient=coefficient)
        super().__init__(
            conv(channels, hidden_channels, kernel_size=3),
            LipSwish(),
            conv(hidden_channels, hidden_channels, kernel_size=1),
            LipSwish(),
            conv(hidden_channels, channels, kernel_size=3),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply."""
        return super().forward(x).to(x.dtype)
