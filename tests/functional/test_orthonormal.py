import pytest
import torch

from lightning_flows.errors import ConvergenceError
from lightning_flows.functional import orthonormal
from lightning_flows.functional.orthonormal import orthonormal_columns


def eye(size: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.eye(size, dtype=dtype)


@pytest.mark.parametrize("shape", [(5, 1), (5, 3), (5, 5), (64, 32)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_columns_are_orthonormal_to_round_off(shape, dtype, scale):
    a = scale * torch.randn(20, *shape, dtype=dtype)
    q = orthonormal_columns(a)
    assert (q.mT @ q - eye(shape[1], dtype)).abs().max() < 20 * torch.finfo(dtype).eps


@pytest.mark.parametrize("fixed", [True, False])
def test_they_are_the_polar_factor(fixed, monkeypatch):
    if fixed:  # as in a compiled graph or on other devices
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    a = torch.randn(7, 6, 4, dtype=torch.float64)
    u, _, v = torch.linalg.svd(a, full_matrices=False)
    torch.testing.assert_close(orthonormal_columns(a), u @ v, rtol=0, atol=1e-13)
    torch.testing.assert_close(orthonormal_columns(a[0]), (u @ v)[0], rtol=0, atol=1e-13)


@pytest.mark.parametrize("rank_one", [True, False])
def test_singular_values_that_are_far_apart(rank_one):
    """Nearly of rank one, where the scaled largest singular value is largest, and a condition number of 10,000."""
    q, r = (torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64)).Q for _ in range(2))
    values = [1, 1e-4, 1e-4, 1e-4, 1e-4] if rank_one else [1, 1, 1, 1, 1e-4]
    a = q @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ r
    torch.testing.assert_close(orthonormal_columns(a), q @ r, rtol=0, atol=1e-11)


def test_gradient():
    a = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(orthonormal_columns, a)


def test_the_iteration_stops_early(monkeypatch):
    monkeypatch.setattr(orthonormal, "MAX_STEPS", 12)
    orthonormal_columns(torch.randn(10, 8, 4, dtype=torch.float64))


def test_dependent_columns_are_an_error():
    a = torch.randn(3, 4, 2)
    a[1, :, 1] = 0
    with pytest.raises(ConvergenceError, match="the columns of a matrix to orthonormalize are linearly dependent"):
        orthonormal_columns(a)


def test_empty_batches():
    assert orthonormal_columns(torch.zeros(0, 4, 2)).shape == (0, 4, 2)
