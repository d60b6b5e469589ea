"""Linear maps and functions as full matrices, for comparison."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def matrix_of(linear: Callable[[Tensor], Tensor], shape: Sequence[int]) -> Tensor:
    """The matrix of a linear map on events of ``shape``, in float64."""
    basis = torch.eye(torch.Size(shape).numel(), dtype=torch.float64).reshape(-1, *shape)
    return linear(basis).flatten(1).T


def conv_matrix(kernel: Tensor, size: Sequence[int], padding: Sequence[int] | None = None) -> Tensor:
    """The matrix of a zero-padded convolution on images of ``size``; same padding on all sides by default."""
    kernel = kernel.detach().double()
    sides = [kernel.shape[3] // 2] * 2 + [kernel.shape[2] // 2] * 2 if padding is None else list(padding)
    return matrix_of(lambda x: F.conv2d(F.pad(x, sides), kernel), (kernel.shape[1], *size))


def norm(matrix: Tensor) -> float:
    """Largest singular value."""
    return torch.linalg.matrix_norm(matrix, ord=2).item()
