"""Autoregressive 2x2 convolutions, the factors of emerging convolutions."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

from lightning_flows.transforms.linear import LinearOperator, LinearTransform


class AutoregressiveConv(LinearTransform):
    r"""Convolution of each pixel with its neighbors above and left; a triangular matrix in raster order.

    .. math:: z_{h,w} = L x_{h,w} + A x_{h,w-1} + B x_{h-1,w} + D x_{h-1,w-1}, \qquad
              \log|\det J| = HW \sum_c \log|L_{cc}|

    L is lower triangular over the channels. With ``reverse``, each pixel depends on those below and to its right
    instead, as if images were rotated by 180°. The inverse solves for one anti-diagonal of pixels after another, in
    H + W − 1 steps. Shapes: x, z ``(B, C, H, W)``. Source: Hoogeboom et al., Emerging Convolutions, 2019.

    >>> layer = AutoregressiveConv(3)
    >>> x = torch.randn(1, 3, 4, 4)
    >>> changed = x.clone()
    >>> changed[..., 2, 2] += 1
    >>> ((layer(changed)[0] - layer(x)[0]).abs().amax((0, 1)) > 1e-6).int()  # below and to the right only
    tensor([[0, 0, 0, 0],
            [0, 0, 0, 0],
            [0, 0, 1, 1],
            [0, 0, 1, 1]], dtype=torch.int32)
    """

    mask: Tensor

    def __init__(self, channels: int, *, reverse: bool = False) -> None:
        super().__init__((channels, None, None))
        self.reverse = reverse
        weight = torch.randn(channels, channels, 2, 2) / (2 * channels)
        weight[:, :, 1, 1] += torch.eye(channels)
        self.weight = nn.Parameter(weight)
        mask = torch.ones_like(weight, dtype=torch.bool)
        mask[:, :, 1, 1].tril_()
        self.register_buffer("mask", mask, persistent=False)

    def operator(self, *, update: bool = False) -> LinearOperator:
        kernel = self.weight * self.mask
        diagonal = kernel[:, :, 1, 1].diagonal()

        def solve(z: Tensor) -> Tensor:
            x = _WavefrontSolve.apply(z.flip(2, 3) if self.reverse else z, kernel, False)
            return x.flip(2, 3) if self.reverse else x

        return LinearOperator(
            lambda x: causal_conv(x, kernel, reverse=self.reverse),
            solve,
            lambda x: x.shape[2] * x.shape[3] * diagonal.abs().log().sum(),
        )

    def extra_repr(self) -> str:
        return super().extra_repr() + (", reverse=True" if self.reverse else "")


def causal_conv(x: Tensor, kernel: Tensor, *, reverse: bool = False) -> Tensor:
    """Convolve x ``(B, C, H, W)`` with a 2x2 kernel, rotated by 180° if ``reverse``, whose last tap is at the pixel."""
    if reverse:
        return F.conv2d(F.pad(x, (0, 1, 0, 1)), kernel.flip(2, 3))
    return F.conv2d(F.pad(x, (1, 0, 1, 0)), kernel)


class _WavefrontSolve(torch.autograd.Function):
    r"""x with ``causal_conv(x, kernel) = z``, by substitution along anti-diagonals; ``upper`` is the triangle of L.

    .. math:: \bar z = T^{-T} \bar x, \qquad \bar T = -\bar z x^T

    The transposed system has the same form, for images rotated by 180° and transposed taps.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, kernel: Tensor, upper: bool) -> Tensor:
        x = _solve_wavefront(z, kernel, upper=upper)
        ctx.save_for_backward(x, kernel)
        ctx.upper = upper
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        x, kernel = ctx.saved_tensors
        grad = _WavefrontSolve.apply(grads[0].flip(2, 3), kernel.transpose(0, 1), not ctx.upper).flip(2, 3)
        return grad, -conv2d_weight(F.pad(x, (1, 0, 1, 0)), kernel.shape, grad), None


def _solve_wavefront(z: Tensor, kernel: Tensor, *, upper: bool) -> Tensor:
    batch, channels, height, width = z.shape
    identity = torch.eye(channels, dtype=kernel.dtype, device=kernel.device)
    taps = torch.cat([identity, *kernel.flatten(2)[:, :, :3].unbind(2)], dim=1)
    solved = torch.linalg.solve_triangular(kernel[:, :, 1, 1], taps, upper=upper)
    inverse, above_left, above, left = solved.chunk(4, dim=1)
    diagonals = height + width - 1
    # x[d + 2, :, w + 1] is the pixel in row d − w and column w; two diagonals and a column of zeros come first
    x = z.new_zeros(diagonals + 2, channels, width + 1, batch)
    x[2:, :, 1:] = _skew(F.conv2d(z, inverse[:, :, None, None]))
    for d in range(diagonals):
        first, last = max(0, d - height + 1), min(d + 1, width)
        here, there = slice(first + 1, last + 1), slice(first, last)
        pixels = x[d + 2, :, here].view(channels, -1)
        pixels.addmm_(above, x[d + 1, :, here].view(channels, -1), alpha=-1)
        pixels.addmm_(left, x[d + 1, :, there].view(channels, -1), alpha=-1)
        pixels.addmm_(above_left, x[d, :, there].view(channels, -1), alpha=-1)
    return _unskew(x[2:, :, 1:], height)


def _skew(x: Tensor) -> Tensor:
    """Convert images ``(B, C, H, W)`` to their anti-diagonals ``(H + W - 1, C, W, B)`` by column, padded with zeros."""
    batch, channels, height, width = x.shape
    zeros = x.new_zeros(channels, width, width, batch)  # F.pad does not take empty batches before torch 2.9
    columns = torch.cat([x.permute(1, 3, 2, 0), zeros], dim=2).flatten(1, 2)  # W columns of length H + W, one after the
    columns = columns[:, : columns.shape[1] - width]  # other; read as if each were one shorter, they shift by one
    return columns.view(channels, width, height + width - 1, batch).permute(2, 0, 1, 3)


def _unskew(x: Tensor, height: int) -> Tensor:
    """Convert anti-diagonals back to images, in channels_last layout."""
    diagonals, channels, width, batch = x.shape
    columns = torch.cat([x.permute(1, 2, 0, 3).flatten(1, 2), x.new_zeros(channels, width, batch)], dim=1)
    columns = columns.view(channels, width, diagonals + 1, batch)
    return columns[:, :, :height].permute(3, 0, 2, 1).contiguous(memory_format=torch.channels_last)
