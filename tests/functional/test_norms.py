import pytest
import torch

from lightning_flows.functional.norms import conv_norm_bound, matrix_norm_bound
from tests.dense import conv_matrix, norm


@pytest.mark.parametrize(
    "shape", [(3, 3, 3, 3), (2, 5, 3, 3), (5, 2, 3, 3), (2, 2, 5, 5), (4, 4, 1, 1), (2, 3, 1, 3), (1, 1, 3, 3)]
)
@pytest.mark.parametrize("size", [(1, 1), (4, 4), (3, 7), (9, 9)])
def test_is_at_least_the_norm(shape, size):
    for _ in range(3):
        kernel = torch.randn(shape, dtype=torch.float64)
        assert conv_norm_bound(kernel).item() >= norm(conv_matrix(kernel, size)) * (1 - 1e-12)


@pytest.mark.parametrize("kernel_size", [3, 5])
def test_is_at_least_the_norm_of_the_steepest_kernels(kernel_size):
    """A kernel whose transfer function peaks between points of a coarse grid."""
    place = torch.arange(kernel_size) - kernel_size // 2
    for frequency in torch.linspace(0, torch.pi, 17):
        kernel = torch.cos(frequency * place)[:, None] * torch.cos(frequency * place)[None, :]
        bound = conv_norm_bound(kernel[None, None].double(), grid_size=2 * kernel_size)
        fine = conv_norm_bound(kernel[None, None].double(), grid_size=512)
        assert bound >= fine * (1 - 1e-4)


def test_is_close_on_big_images():
    kernel = torch.randn(1, 1, 3, 3, dtype=torch.float64)
    bound = conv_norm_bound(kernel, grid_size=64).item()
    assert bound == pytest.approx(norm(conv_matrix(kernel, (24, 24))), rel=0.03)
    kernel = torch.randn(3, 2, 3, 3, dtype=torch.float64)
    assert conv_norm_bound(kernel).item() == pytest.approx(norm(conv_matrix(kernel, (16, 16))), rel=0.05)


def test_one_pixel_kernels_are_matrices():
    kernel = torch.randn(4, 3, 1, 1, dtype=torch.float64)
    assert conv_norm_bound(kernel).item() == pytest.approx(norm(kernel[:, :, 0, 0]), rel=1e-12)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="expected grid_size above 4 for this kernel; got 4"):
        conv_norm_bound(torch.zeros(1, 1, 5, 5), grid_size=4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (5, 3), (3, 5), (16, 16)])
@pytest.mark.parametrize("scale", [1e-30, 1e-15, 1e-3, 1.0, 1e3, 1e15, 1e30])
def test_matrix_bound_is_at_least_the_norm_and_close(shape, scale, dtype):
    matrices = scale * torch.randn(20, *shape, dtype=dtype)
    bounds, norms = matrix_norm_bound(matrices), torch.linalg.matrix_norm(matrices, ord=2)
    assert bounds.shape == (20,)
    assert (bounds >= norms * (1 - 1e-5)).all()
    assert (bounds <= norms * min(shape) ** (1 / 16) * (1 + 1e-5)).all()


def test_matrix_bound_is_the_norm_of_matrices_of_rank_one():
    matrix = torch.outer(torch.randn(4, dtype=torch.float64), torch.randn(3, dtype=torch.float64))
    assert matrix_norm_bound(matrix).item() == pytest.approx(norm(matrix), rel=1e-12)


def test_matrix_bound_has_gradients():
    matrix = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(matrix_norm_bound, (matrix,))
    zero = torch.zeros(3, 3, requires_grad=True)
    matrix_norm_bound(zero).backward()
    assert torch.equal(zero.grad, torch.zeros(3, 3))
