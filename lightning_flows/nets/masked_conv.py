"""Autoregressive convolutions and the net of Convolutional Sylvester Flows."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_flows.errors import ShapeError, UsageError
from lightning_flows.functional.masks import causal_mask
from lightning_flows.nets.spectral_norm import SpectralNorm, default_kernel


class MaskedConv2d(nn.Module):
    r"""Convolution in which a pixel sees the pixels to its right and below, and its own lower channels.

    A causal 3x3 kernel has nothing above its center, so two rows are kept: 2x3, padded on one side, with two thirds of
    the multiplications. ``heads`` convolutions of one input are computed as one; each is normalized separately.

    Shapes: x ``(B, in_channels, H, W)``; returns ``(B, heads * out_channels, H, W)``, the first head's channels first.
    Args: ``strict`` hides the output's own channel group too; ``max_norm`` bounds each head's operator norm at
    ``size`` = (H, W), None leaves it free.
    Source: van den Oord et al., 2016; section 4.1 of the paper.
    """

    mask: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int,
        strict: bool,
        size: Sequence[int],
        max_norm: float | None = None,
        heads: int = 1,
        init_scale: float = 1.0,
    ) -> None:
        super().__init__()
        mask = causal_mask(out_channels, in_channels, kernel_size=kernel_size, strict=strict).repeat(heads, 1, 1, 1)
        self.register_buffer(
            "mask", mask, persistent=False
        )  # follows from the shape: not worth a place in a checkpoint
        self.weight = nn.Parameter(init_scale * default_kernel(*mask.shape))
        self.bias = nn.Parameter(torch.zeros(heads * out_channels))
        side = kernel_size // 2
        self.padding = (side, side, 0, side)
        self.spectral_norm = (
            SpectralNorm(self.weight * mask, size, padding=self.padding, max_norm=max_norm, groups=heads)
            if max_norm is not None
            else None
        )

    def kernel(self, *, update: bool = False) -> Tensor:
        """Return the masked and normalized kernel; ``update`` steps the power iteration in train mode."""
        kernel = self.weight * self.mask
        return kernel if self.spectral_norm is None else self.spectral_norm(kernel, update=update)

    def bind(self, *, update: bool = False) -> Callable[[Tensor], Tensor]:
        """Return the convolution as a function with its kernel evaluated once."""
        kernel = self.kernel(update=update).contiguous(memory_format=torch.channels_last)
        return lambda x: F.conv2d(F.pad(x, self.padding) if any(self.padding) else x, kernel, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.bind(update=True)(x)


class AutoregressiveConvNet(nn.Module):
    r"""Strictly autoregressive functions of an image with a shared representation.

    .. math:: h = \operatorname{relu}(B \cdot \operatorname{relu}(A \star y)), \qquad \text{head}_k = C_k \star h

    with a masked 3x3, a masked 1x1, and strictly masked 3x3 convolutions. The order is reverse raster: a pixel depends
    on those to its right and below, and on lower channels at the same position.

    Shapes: y ``(B, C, H, W)``; returns ``num_heads`` tensors of y's shape and dtype.
    Raises: ShapeError unless ``event_shape`` is (C, H, W); UsageError unless ``hidden_channels`` ≥ 1.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        hidden_channels: int,
        *,
        num_heads: int = 4,
        max_norm: float | None = 1.5,
        head_scale: float = 0.1,
    ) -> None:
        super().__init__()
        if len(event_shape) != 3:
            raise ShapeError(f"expected events (C, H, W); got {tuple(event_shape)}")
        if hidden_channels < 1:
            raise UsageError(f"expected hidden_channels of at least 1; got {hidden_channels}")
        channels, *size = event_shape
        conv = partial(MaskedConv2d, size=size, max_norm=max_norm)
        self.num_heads = num_heads
        self.input = conv(channels, hidden_channels, kernel_size=3, strict=False)
        self.hidden = conv(hidden_channels, hidden_channels, kernel_size=1, strict=False)
        self.heads = conv(hidden_channels, channels, kernel_size=3, strict=True, heads=num_heads, init_scale=head_scale)

    def bind(self, *, update: bool = False) -> Callable[[Tensor], tuple[Tensor, ...]]:
        """Return the net as a function with its kernels evaluated once."""
        first, hidden, heads = (conv.bind(update=update) for conv in (self.input, self.hidden, self.heads))

        def apply(y: Tensor) -> tuple[Tensor, ...]:
            h = torch.relu_(first(y))  # in place: a convolution's backward does not need its output
            h = torch.relu_(hidden(h))
            return heads(h).to(y.dtype).chunk(self.num_heads, dim=1)

        return apply

    def forward(self, y: Tensor) -> tuple[Tensor, ...]:
        return self.bind(update=True)(y)
