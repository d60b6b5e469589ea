"""Autoregressive convolutions and the net of Convolutional Sylvester Flows."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from lightning_flows.errors import ShapeError, UsageError, check_sizes
from lightning_flows.nets.spectral_norm import NormalizedConv2d, default_kernel


def channel_mask(out_channels: int, in_channels: int, *, strict: bool) -> Tensor:
    r"""Bool mask ``(out_channels, in_channels)`` of the inputs that each output channel depends on.

    Both are ordered from low to high. The longer of the two is split into as many consecutive groups as the shorter one
    has channels; output group a depends on the input groups b ≤ a, or b < a if ``strict``. A chain of such masks
    with equal inner widths, of any size, is strictly autoregressive if its first or last mask is strict.

    >>> channel_mask(4, 2, strict=False).int().tolist()
    [[1, 0], [1, 0], [1, 1], [1, 1]]
    >>> channel_mask(2, 4, strict=True).int().tolist()
    [[0, 0, 0, 0], [1, 1, 0, 0]]
    """
    groups = min(out_channels, in_channels)
    out_group = torch.arange(out_channels)[:, None] * groups // out_channels
    in_group = torch.arange(in_channels)[None, :] * groups // in_channels
    return in_group < out_group if strict else in_group <= out_group


def causal_mask(out_channels: int, in_channels: int, *, kernel_size: int, strict: bool) -> Tensor:
    """Bool mask ``(out_channels, in_channels, rows, kernel_size)`` of a causal kernel: pixels to the right and below.

    It only contains the rows that a causal kernel uses, the center row and those below: two for a 3x3 kernel. Left of
    the center it is False, the center is :func:`channel_mask`, the rest is True.

    Raises: UsageError if ``kernel_size`` is even.

    >>> causal_mask(1, 1, kernel_size=3, strict=True).int().tolist()
    [[[[0, 0, 1], [1, 1, 1]]]]
    """
    if kernel_size % 2 == 0 or kernel_size < 1:
        raise UsageError(f"expected an odd kernel size; got {kernel_size}")
    center = kernel_size // 2
    mask = torch.ones(out_channels, in_channels, center + 1, kernel_size, dtype=torch.bool)
    mask[:, :, 0, :center] = False
    mask[:, :, 0, center] = channel_mask(out_channels, in_channels, strict=strict)
    return mask


class MaskedConv2d(NormalizedConv2d):
    r"""Convolution in which a pixel depends on the pixels to its right and below, and on its own lower channels.

    A causal 3x3 kernel is zero above its center, so only two rows are stored: 2x3, padded on one side, with two thirds
    of the multiplications. ``heads`` convolutions of one input are computed as one; each is normalized separately.

    Shapes: x ``(B, in_channels, H, W)``; returns ``(B, heads * out_channels, H, W)``, the first head's channels first.
    Args: ``strict`` also masks the output's own channel group; ``max_norm`` bounds each head's operator norm at
    ``size`` = (H, W); None for no bound.
    Source: van den Oord et al., 2016; section 4.1 of the paper.
    """

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
        mask = causal_mask(out_channels, in_channels, kernel_size=kernel_size, strict=strict).repeat(heads, 1, 1, 1)
        weight, side = init_scale * default_kernel(*mask.shape), kernel_size // 2
        super().__init__(weight, size, padding=(side, side, 0, side), max_norm=max_norm, mask=mask, groups=heads)


class AutoregressiveConvNet(nn.Module):
    r"""Strictly autoregressive functions of an image with a shared representation.

    .. math:: h = \operatorname{relu}(B \cdot \operatorname{relu}(A \star y)), \qquad \text{head}_k = C_k \star h

    with a masked 3x3, a masked 1x1, and strictly masked 3x3 convolutions, in reverse raster order.

    Shapes: y ``(B, C, H, W)``; returns ``num_heads`` tensors of y's shape and dtype.
    Raises: ShapeError unless ``event_shape`` is (C, H, W); UsageError unless ``hidden_channels`` ≥ 1.
    """

    def __init__(
        self, event_shape: Sequence[int], hidden_channels: int, *, num_heads: int = 4, max_norm: float | None = 1.5
    ) -> None:
        super().__init__()
        if len(event_shape) != 3:
            raise ShapeError(f"expected events (C, H, W); got {tuple(event_shape)}")
        check_sizes(hidden_channels=hidden_channels)
        channels, *size = event_shape
        conv = partial(MaskedConv2d, size=size, max_norm=max_norm)
        self.num_heads = num_heads
        self.input = conv(channels, hidden_channels, kernel_size=3, strict=False)
        self.hidden = conv(hidden_channels, hidden_channels, kernel_size=1, strict=False)
        self.heads = conv(hidden_channels, channels, kernel_size=3, strict=True, heads=num_heads, init_scale=0.1)

    def bind(self, *, update: bool = False) -> Callable[[Tensor], tuple[Tensor, ...]]:
        """Return the net as a function whose kernels are evaluated once."""
        first, hidden, heads = (conv.bind(update=update) for conv in (self.input, self.hidden, self.heads))

        def apply(y: Tensor) -> tuple[Tensor, ...]:
            h = torch.relu_(first(y))  # in place: a convolution's backward does not need its output
            h = torch.relu_(hidden(h))
            return heads(h).to(y.dtype).chunk(self.num_heads, dim=1)

        return apply

    def forward(self, y: Tensor) -> tuple[Tensor, ...]:
        return self.bind(update=True)(y)
