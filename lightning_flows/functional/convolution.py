"""Convolutions with square, centered kernels, which preserve the size of images, and their derivatives."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def convolve(x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve images ``(B, C_in, H, W)`` with a zero-padded kernel ``(C_out, C_in, k, k)``, odd k.

    >>> convolve(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 3, 3))
    tensor([[[[4., 4.],
              [4., 4.]]]])
    """
    return F.conv2d(x, kernel, bias, padding=kernel.shape[-1] // 2)


def adjoint_kernel(kernel: Tensor) -> Tensor:
    """Kernel of the adjoint of :func:`convolve`, in the memory format channels_last.

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
    """Gradients with respect to the input, kernel and bias of :func:`convolve`; None for those that are not wanted.

    ``padding`` is that of the convolution, if different.

    >>> x, kernel = torch.ones(1, 1, 2, 2), torch.ones(1, 1, 3, 3)
    >>> of_x, of_kernel, of_bias = convolve_backward(torch.ones(1, 1, 2, 2), x, kernel)
    >>> of_x.flatten().tolist(), of_kernel[0, 0, 1].tolist(), of_bias
    ([4.0, 4.0, 4.0, 4.0], [2.0, 4.0, 2.0], None)
    """
    side = kernel.shape[-1] // 2 if padding is None else padding
    result: tuple[Any, ...] = torch.ops.aten.convolution_backward(
        grad, x, kernel, [len(kernel)], [1, 1], [side, side], [1, 1], False, [0, 0], 1, list(wanted)
    )
    return result
