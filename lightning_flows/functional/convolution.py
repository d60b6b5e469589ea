"""Convolutions with square, centered kernels, which preserve the size of images, and their derivatives."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def convolve(x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    r"""Convolve images ``(B, C_in, H, W)`` with a zero-padded kernel ``(C_out, C_in, k, k)``, odd k.

    .. math:: z_{o,h,w} = b_o + \sum_{c,i,j} K_{o,c,i,j}\, x_{c,\,h+i-\lfloor k/2\rfloor,\,w+j-\lfloor k/2\rfloor}

    >>> convolve(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 3, 3))
    tensor([[[[4., 4.],
              [4., 4.]]]])
    """
    if _are_pixels(x, kernel):
        return F.linear(x.flatten(1), kernel.flatten(1), bias)[..., None, None]
    return F.conv2d(x, kernel, bias, padding=kernel.shape[-1] // 2)


def _are_pixels(x: Tensor, kernel: Tensor) -> bool:
    """Whether images are single pixels, whose convolution is a matrix product: torch's convolutions take longer."""
    return kernel.shape[2:] == (1, 1) and x.shape[2:] == (1, 1)


def dense_kernel(kernel: Tensor, size: Sequence[int]) -> Tensor:
    r"""Kernel by which :func:`convolve` acts on images of ``size`` (H, W) whose values are channels of one pixel.

    .. math:: K'_{(o,p),(c,q)} = K_{o,c,\,q-p+\lfloor k/2\rfloor}, \quad 0 \text{ outside of the kernel}

    p and q are positions in the image. It has HW/k² times as many products as the convolution, but takes less time for
    a few pixels.

    Shapes: ``(C_out, C_in, k, k)`` to ``(C_out·H·W, C_in·H·W, 1, 1)``.

    >>> x, kernel = torch.randn(2, 3, 2, 4), torch.randn(5, 3, 3, 3)
    >>> pixels = convolve(x.reshape(2, 24, 1, 1), dense_kernel(kernel, (2, 4)))
    >>> torch.allclose(pixels.reshape(2, 5, 2, 4), convolve(x, kernel), atol=1e-5)
    True
    """
    (height, width), side = size, kernel.shape[-1]
    row, column = torch.arange(height, device=kernel.device), torch.arange(width, device=kernel.device)
    i, j = (place - place[:, None] + side // 2 for place in (row, column))
    inside = ((i >= 0) & (i < side))[:, None, :, None] & ((j >= 0) & (j < side))[None, :, None, :]
    taps = torch.where(inside, (side * i)[:, None, :, None] + j[None, :, None, :], side**2)  # of a padded kernel
    found = F.pad(kernel.flatten(2), (0, 1)).index_select(2, taps.flatten())
    found = found.unflatten(2, (height * width, height * width)).transpose(1, 2)
    return found.flatten(2).flatten(0, 1)[..., None, None]


def adjoint_kernel(kernel: Tensor) -> Tensor:
    r"""Kernel of the adjoint of :func:`convolve`, in the memory format channels_last.

    .. math:: \langle K \star x, z\rangle = \langle x, K^* \star z\rangle, \quad K^*_{c,o,i,j} = K_{o,c,\,k-1-i,\,k-1-j}

    Shapes: ``(C_out, C_in, k, k)`` to ``(C_in, C_out, k, k)``.

    >>> x, y, kernel = torch.randn(1, 2, 4, 4), torch.randn(1, 3, 4, 4), torch.randn(3, 2, 3, 3)
    >>> inner = (y * convolve(x, kernel)).sum()
    >>> torch.allclose(inner, (convolve(y, adjoint_kernel(kernel)) * x).sum(), atol=1e-3)
    True
    """
    return kernel.flip(2, 3).transpose(0, 1).contiguous(memory_format=torch.channels_last)


def convolve_backward(
    grad: Tensor,
    x: Tensor,
    kernel: Tensor,
    *,
    wanted: tuple[bool, bool, bool] = (True, True, False),
    padding: int | None = None,
) -> tuple[Any, ...]:
    r"""Gradients with respect to the input, kernel and bias of :func:`convolve`; None for those that are not wanted.

    .. math:: \bar x = K^* \star \bar z, \qquad
              \bar K_{o,c,i,j} = \sum_{n,h,w} \bar z_{n,o,h,w}\, x_{n,c,h+i,w+j}, \qquad
              \bar b_o = \sum_{n,h,w} \bar z_{n,o,h,w}

    Indices of x are relative to the padding.

    ``padding`` is that of the convolution, if different.

    Shapes: grad ``(B, C_out, H, W)``, x ``(B, C_in, H, W)``, kernel ``(C_out, C_in, k, k)``; returns those of x, the
    kernel and the bias.

    >>> x, kernel = torch.ones(1, 1, 2, 2), torch.ones(1, 1, 3, 3)
    >>> of_x, of_kernel, of_bias = convolve_backward(torch.ones(1, 1, 2, 2), x, kernel)
    >>> of_x.flatten().tolist(), of_kernel[0, 0, 1].tolist(), of_bias
    ([4.0, 4.0, 4.0, 4.0], [2.0, 4.0, 2.0], None)
    """
    if _are_pixels(x, kernel) and not padding:
        needs_x, needs_kernel, needs_bias = wanted
        rows = grad.flatten(1)
        return (
            (rows @ kernel.flatten(1))[..., None, None] if needs_x else None,
            (rows.T @ x.flatten(1))[..., None, None] if needs_kernel else None,
            rows.sum(0) if needs_bias else None,
        )
    side = kernel.shape[-1] // 2 if padding is None else padding
    result: tuple[Any, ...] = torch.ops.aten.convolution_backward(
        grad, x, kernel, [len(kernel)], [1, 1], [side, side], [1, 1], False, [0, 0], 1, list(wanted)
    )
    return result
