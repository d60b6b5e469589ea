"""Autoregressive convolutions and the net of Convolutional Sylvester Flows."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_flows.errors import UsageError, check_sizes
from lightning_flows.functional.convolution import convolve_backward
from lightning_flows.functional.precision import is_autocast
from lightning_flows.functional.shapes import image_shape
from lightning_flows.nets.packing import Packing
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
    if kernel_size % 2 != 1 or kernel_size < 1:
        raise UsageError(f"expected an odd kernel size; got {kernel_size}")
    center = kernel_size // 2
    mask = torch.ones(out_channels, in_channels, center + 1, kernel_size, dtype=torch.bool)
    mask[:, :, 0, :center] = False
    mask[:, :, 0, center] = channel_mask(out_channels, in_channels, strict=strict)
    return mask


class MaskedConv2d(NormalizedConv2d):
    r"""Convolution in which a pixel depends on the pixels to its right and below, and on its own lower channels.

    .. math:: y_{h,w} = \sum_{(i,j) \ge (0,0)} K_{ij}\, x_{h+i,w+j}, \qquad K_{00} \text{ lower triangular}

    The order of (i, j) is that of the raster.

    A causal 3x3 kernel is zero above its center, so only two rows are multiplied: 2x3, padded on one side. What is
    always zero, except on the diagonal, is not stored either: taps before the center, or blocks of a 1x1 kernel above
    the diagonal, see :class:`Packing`. ``heads`` convolutions of one input are computed as one; each is normalized
    separately.

    Shapes: x ``(B, in_channels, H, W)``; returns ``(B, heads * out_channels, H, W)``, the first head's channels first.
    Args: ``strict`` also masks the output's own channel group; ``max_norm`` bounds each head's operator norm at
    ``size`` = (H, W); None for no bound.
    Source: van den Oord et al., 2016; section 4.1 of the paper.

    >>> layer = MaskedConv2d(1, 1, kernel_size=3, strict=True, size=(4, 4))
    >>> x = torch.zeros(1, 1, 4, 4, requires_grad=True)
    >>> layer(x)[0, 0, 1, 1].backward()  # the pixels that this output sees
    >>> (x.grad[0, 0] != 0).int()
    tensor([[0, 0, 0, 0],
            [0, 0, 1, 0],
            [1, 1, 1, 0],
            [0, 0, 0, 0]], dtype=torch.int32)
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
        kernel, side = init_scale * default_kernel(*mask.shape), kernel_size // 2
        triangular = mask.shape == (in_channels, in_channels, 1, 1) and heads == 1
        packing = Packing.triangular(in_channels) if triangular else Packing(tuple(mask.shape), skipped=side)
        padding = (side, side, 0, side)
        super().__init__(kernel, size, padding=padding, max_norm=max_norm, mask=mask, groups=heads, packing=packing)

    def bind(self, *, update: bool = False) -> Callable[[Tensor], Tensor]:
        kernel = self.kernel(update=update)
        return lambda x: causal_conv(x, kernel, self.bias)

    def bind_columns(self, weight: Tensor) -> Callable[[Sequence[Tensor]], Tensor]:
        """Return a triangular convolution as a function of its input channels, which are cut as its blocks are."""
        columns = self.packing.columns(weight)
        return lambda parts: triangular_conv(parts, columns, self.bias)


def causal_conv(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """Convolve images with a causal kernel ``(C_out, C_in, side + 1, 2 * side + 1)``, which preserves their size."""
    side = kernel.shape[2] - 1
    if len(kernel) > kernel.shape[1]:
        return F.conv2d(F.pad(x, (side, side, 0, side)), kernel, bias)
    # padding above as well is cheaper than a copy of wide images; its rows are dropped
    return F.conv2d(x, kernel, bias, padding=side)[:, :, side:]


def causal_conv_backward(grad: Tensor, x: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients with respect to the arguments of :func:`causal_conv`."""
    side, of_bias = kernel.shape[2] - 1, grad.sum((0, 2, 3))  # faster than that of the convolution
    if len(kernel) > kernel.shape[1]:
        x = F.pad(x, (side, side, 0, side))
        of_x, of_kernel, _ = convolve_backward(grad, x, kernel, padding=0)
        return of_x[:, :, : grad.shape[2], side : side + grad.shape[3]], of_kernel, of_bias
    of_x, of_kernel, _ = convolve_backward(F.pad(grad, (0, 0, side, 0)), x, kernel)
    return of_x, of_kernel, of_bias


def triangular_conv(parts: Sequence[Tensor], columns: Sequence[Tensor], bias: Tensor) -> Tensor:
    r"""Multiply each pixel's channels by a block-triangular matrix, with a bias: :math:`\sum_j K_j x_j + b`.

    The column of blocks K_j only has the rows from the diagonal block on. Shapes: parts x_j ``(B, C_j, H, W)``;
    columns ``(C_j + ... + C_n, C_j, 1, 1)``; bias ``(C,)``; returns ``(B, C, H, W)``.
    """
    if len(parts) == 1:
        return F.conv2d(parts[0], columns[0], bias)
    device = bias.device.type
    if is_autocast(device):
        dtype = torch.get_autocast_dtype(device)  # as a convolution's arguments are cast
        parts, columns, bias = [x.to(dtype) for x in parts], [x.to(dtype) for x in columns], bias.to(dtype)
    return _TriangularConv.apply(bias, *parts, *columns)


class _TriangularConv(torch.autograd.Function):
    """Keeps its arguments; adds up the columns in place, which autograd would copy."""

    generate_vmap_rule = True

    @staticmethod
    def forward(bias: Tensor, *arguments: Tensor) -> Tensor:
        return sum_of_columns(arguments[: len(arguments) // 2], arguments[len(arguments) // 2 :], bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        _, *arguments = ctx.saved_tensors
        pairs = zip(arguments[: len(arguments) // 2], arguments[len(arguments) // 2 :], strict=True)
        of_parts, of_columns = zip(*(column_backward(grads[0], *pair) for pair in pairs), strict=True)
        return grads[0].sum((0, 2, 3)), *of_parts, *of_columns


def sum_of_columns(parts: Sequence[Tensor], columns: Sequence[Tensor], bias: Tensor) -> Tensor:
    """The value of :func:`triangular_conv`, without a graph."""
    total = F.conv2d(parts[0], columns[0], bias)
    for x, column in zip(parts[1:], columns[1:], strict=True):
        part = F.conv2d(x, column)
        if torch.compiler.is_compiling():  # outputs of a Function are not changed in place: see `_gate`
            total = total + F.pad(part, (0, 0, 0, 0, total.shape[1] - len(column), 0))
        else:
            total[:, -len(column) :].add_(part)
    return total


def column_backward(grad: Tensor, x: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of :func:`triangular_conv` with respect to one of its parts and that part's column."""
    grad = grad[:, -len(column) :].contiguous(memory_format=torch.channels_last)
    of_x, of_column, _ = convolve_backward(grad, x, column)
    return of_x, of_column


class BoundNet(NamedTuple):
    """An :class:`AutoregressiveConvNet` whose kernels are evaluated: a function of y.

    The first convolution is cut into ``kernels`` and ``biases`` as the columns of blocks of the second one, ``columns``
    and ``bias``, are; ``heads`` and ``heads_bias`` are all heads.
    """

    kernels: Sequence[Tensor]
    biases: Sequence[Tensor]
    columns: Sequence[Tensor]
    bias: Tensor
    heads: Tensor
    heads_bias: Tensor
    num_heads: int

    def __call__(self, y: Tensor) -> tuple[Tensor, ...]:
        # in place: a convolution's backward does not need its output
        parts = [torch.relu_(causal_conv(y, *pair)) for pair in zip(self.kernels, self.biases, strict=True)]
        hidden = torch.relu_(triangular_conv(parts, self.columns, self.bias))
        heads = causal_conv(hidden, self.heads, self.heads_bias)
        return heads.to(y.dtype).chunk(self.num_heads, dim=1)


class AutoregressiveConvNet(nn.Module):
    r"""Strictly autoregressive functions of an image with a shared representation.

    .. math:: h = \operatorname{relu}(B \cdot \operatorname{relu}(A \star y)), \qquad \text{head}_k = C_k \star h

    with a masked 3x3, a masked 1x1, and strictly masked 3x3 convolutions, in reverse raster order.

    Shapes: y ``(B, C, H, W)``; returns ``num_heads`` tensors of y's shape and dtype.
    Raises: ShapeError unless ``event_shape`` is (C, H, W); UsageError unless ``hidden_channels`` ≥ 1.

    >>> net = AutoregressiveConvNet((2, 4, 4), 8)
    >>> y = torch.randn(1, 2, 4, 4, requires_grad=True)
    >>> heads = net(y)
    >>> heads[0][0, 0, 2, 2].backward()  # does not depend on the rows above
    >>> len(heads), y.grad[:, :, :2].abs().max().item()
    (4, 0.0)
    """

    def __init__(
        self, event_shape: Sequence[int], hidden_channels: int, *, num_heads: int = 4, max_norm: float | None = 1.5
    ) -> None:
        super().__init__()
        channels, *size = image_shape(event_shape)
        check_sizes(hidden_channels=hidden_channels, num_heads=num_heads)
        conv = partial(MaskedConv2d, size=size, max_norm=max_norm)
        self.num_heads = num_heads
        self.input = conv(channels, hidden_channels, kernel_size=3, strict=False)
        self.hidden = conv(hidden_channels, hidden_channels, kernel_size=1, strict=False)
        self.heads = conv(hidden_channels, channels, kernel_size=3, strict=True, heads=num_heads, init_scale=0.1)

    def bind(self, *, update: bool = False) -> BoundNet:
        """Return the net as a function whose kernels are evaluated once."""
        return self._bound([conv.effective_weight(update=update) for conv in self._convs])

    def bind_kernels(self) -> tuple[BoundNet, list[tuple[Tensor, Tensor]]]:
        """Return the net as a function, and the kernel and bias of its convolutions, which are evaluated once."""
        weights = [conv.effective_weight() for conv in self._convs]
        kernels: list[tuple[Tensor, Tensor]] = [
            (conv.packing.unpack(w), conv.bias) for conv, w in zip(self._convs, weights, strict=True)
        ]
        return self._bound(weights), kernels

    @property
    def _convs(self) -> tuple[MaskedConv2d, MaskedConv2d, MaskedConv2d]:
        return self.input, self.hidden, self.heads

    def _bound(self, weights: Sequence[Tensor]) -> BoundNet:
        widths = self.hidden.packing.widths
        return BoundNet(
            self.input.packing.unpack(weights[0]).split(widths),
            self.input.bias.split(widths),
            self.hidden.packing.columns(weights[1]),
            self.hidden.bias,
            self.heads.packing.unpack(weights[2]),
            self.heads.bias,
            self.num_heads,
        )

    def forward(self, y: Tensor) -> tuple[Tensor, ...]:
        return self.bind(update=True)(y)
