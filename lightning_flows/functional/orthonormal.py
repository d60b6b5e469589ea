"""Matrices with orthonormal columns."""

import torch
from torch import Tensor

from lightning_flows.errors import ConvergenceError

MAX_STEPS = 100
FIXED_STEPS = 30
"""Steps where no value is read from the device; enough for singular values that differ by a factor of 10,000."""


def orthonormal_columns(matrix: Tensor) -> Tensor:
    r"""The orthonormal columns nearest to those of a matrix A, :math:`A (A^T A)^{-1/2}`.

    .. math:: A \leftarrow A\big(I + \tfrac12 (I - A^T A)\big)

    A step maps each singular value σ to σ(3 − σ²)/2, which converges to 1, at last quadratically, from anywhere
    between 0 and √3. A is first scaled by √2 divided by the fourth root of the sum of their fourth powers.
    On a CPU the iteration stops at round-off of the worst matrix; on other devices and in compiled graphs, it takes
    30 steps.

    Shapes: A and the result ``(D, M)`` or ``(B, D, M)``, with D ≥ M and linearly independent columns.
    Raises: ConvergenceError, on a CPU, if the columns are linearly dependent.
    Source: Björck and Bowie, 1971; van den Berg et al., Sylvester Normalizing Flows, 2018, section 4.1.

    >>> q = orthonormal_columns(torch.tensor([[2.0, 0.0], [0.0, 3.0], [0.0, 0.0]]))
    >>> q.abs().round(decimals=4)
    tensor([[1., 0.],
            [0., 1.],
            [0., 0.]])
    """
    a = matrix if matrix.ndim == 3 else matrix[None]
    size = a.shape[2]
    identity = torch.eye(size, dtype=a.dtype, device=a.device)
    middle = (1.5 * identity).expand(a.shape[0], size, size)
    gram_norm = torch.linalg.matrix_norm(a.mT @ a, keepdim=True)
    a = a * (2 / gram_norm).sqrt()
    adaptive = a.is_cpu and not torch.compiler.is_compiling()
    enough = (torch.finfo(a.dtype).eps / size) ** 0.5  # the next step squares the error
    error = 0.0
    for _ in range(MAX_STEPS if adaptive else FIXED_STEPS):
        factor = torch.baddbmm(middle, a.mT, a, alpha=-0.5)
        a = a @ factor
        if adaptive:
            error = 2 * (factor.detach() - identity).abs().max().item() if len(a) else 0.0
            if not error > enough:
                break
    else:
        if adaptive:
            raise ConvergenceError("the columns of a matrix to orthonormalize are linearly dependent", error)
    return a if matrix.ndim == 3 else a[0]
