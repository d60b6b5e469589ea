"""Norms of convolutions."""

import math

import torch
from torch import Tensor


def conv_norm_bound(kernel: Tensor, grid_size: int = 32) -> Tensor:
    r"""Certified upper bound on the operator norm ‖M‖₂ of a zero-padded convolution, whatever the picture's size.

    .. math:: \|M\|_2 \le \sup_\omega \|\hat K(\omega)\|_2
              \le \frac{\max_{\omega\in\text{grid}} \|\hat K(\omega)\|_2}{\cos(\pi d_h/n)\,\cos(\pi d_w/n)}

    A zero-padded convolution is a compression of the one on the infinite plane, whose norm is the supremum over
    frequencies of the norm of the transfer matrix. On a grid of n points a direction, a trigonometric polynomial of
    degree d exceeds its largest value on the grid by 1/cos(π d/n) at most (Ehlich and Zeller, 1964).

    Shapes: kernel ``(C_out, C_in, h, w)`` with odd h, w; returns a scalar.
    Raises: ValueError if ``grid_size`` is at most twice the degree.
    """
    degrees = [size // 2 for size in kernel.shape[2:]]
    if grid_size <= 2 * max(degrees):
        raise ValueError(f"expected grid_size above {2 * max(degrees)} for this kernel; got {grid_size}")
    transfer = torch.fft.fft2(kernel, s=(grid_size, grid_size)).permute(2, 3, 0, 1)
    slack = math.prod(math.cos(math.pi * degree / grid_size) for degree in degrees)
    return torch.linalg.matrix_norm(transfer, ord=2).max() / slack
