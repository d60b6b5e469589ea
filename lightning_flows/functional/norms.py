"""Norms of matrices and convolutions."""

import math

import torch
from torch import Tensor


def conv_norm_bound(kernel: Tensor, grid_size: int = 32) -> Tensor:
    r"""Certified upper bound on the operator norm ‖M‖₂ of a zero-padded convolution, for images of any size.

    .. math:: \|M\|_2 \le \sup_\omega \|\hat K(\omega)\|_2
              \le \frac{\max_{\omega\in\text{grid}} \|\hat K(\omega)\|_2}{\cos(\pi d_h/n)\,\cos(\pi d_w/n)}

    A zero-padded convolution is a compression of the one on the infinite plane, whose norm is the supremum over
    frequencies of the norm of the transfer matrix. On a grid of n points per direction, a trigonometric polynomial of
    degree d exceeds its largest value on the grid by a factor of at most 1/cos(π d/n) (Ehlich and Zeller, 1964).

    Shapes: kernel ``(C_out, C_in, h, w)`` with odd h, w; returns a scalar.
    Raises: ValueError if ``grid_size`` is at most twice the degree.

    >>> bool(8 < conv_norm_bound(torch.ones(1, 1, 3, 3)) < 9.1)  # the norm is 9 on the infinite plane
    True
    """
    degrees = [size // 2 for size in kernel.shape[2:]]
    if grid_size <= 2 * max(degrees):
        raise ValueError(f"expected grid_size above {2 * max(degrees)} for this kernel; got {grid_size}")
    transfer = torch.fft.fft2(kernel, s=(grid_size, grid_size)).permute(2, 3, 0, 1)
    slack = math.prod(math.cos(math.pi * degree / grid_size) for degree in degrees)
    return torch.linalg.matrix_norm(transfer, ord=2).max() / slack


def matrix_norm_bound(matrix: Tensor) -> Tensor:
    r"""Upper bound ``(...)`` on the spectral norm of small matrices ``(..., G, F)``, without device synchronization.

    .. math:: \|A\|_2 \le \big(\operatorname{tr} (A^\top A)^8\big)^{1/16} \le F^{1/16}\, \|A\|_2

    The trace sums the sixteenth powers of all singular values, of which the largest dominates: the bound exceeds the
    norm by at most 4.5 % for 2x2 matrices and 19 % for 16x16 ones. Its gradient is finite at zero.

    >>> matrix_norm_bound(torch.tensor([[3.0, 0.0], [0.0, -1.0]]))
    tensor(3.)
    """
    tiny = torch.finfo(matrix.dtype).tiny
    scale = matrix.detach().abs().amax((-2, -1), keepdim=True).clamp(min=tiny)  # so that no power overflows
    matrix = matrix / scale
    power = matrix.mT @ matrix
    squares = power.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None].clamp(min=tiny)
    power = power / squares
    for _ in range(2):
        power = power @ power
    return scale[..., 0, 0] * (squares[..., 0, 0] * power.square().sum((-2, -1)).clamp(min=tiny) ** (1 / 8)).sqrt()
