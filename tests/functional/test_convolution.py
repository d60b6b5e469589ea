import pytest
import torch
import torch.nn.functional as F

from lightning_flows.functional.convolution import adjoint_kernel, convolve, convolve_backward, dense_kernel
from tests.dense import conv_matrix


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("image", [(6, 5), (1, 1)])
def test_adjoint_and_gradients_are_those_of_autograd(size: int, image: tuple[int, int]) -> None:
    x, grad = (torch.randn(2, channels, *image, dtype=torch.float64) for channels in (3, 4))
    kernel, bias = torch.randn(4, 3, size, size, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    torch.testing.assert_close(convolve(x, kernel, bias), F.conv2d(x, kernel, bias, padding="same"))
    inputs = [each.requires_grad_() for each in (x, kernel, bias)]
    expected = torch.autograd.grad(convolve(*inputs), inputs, grad)
    torch.testing.assert_close(convolve_backward(grad, x, kernel, wanted=(True, True, True)), expected)
    torch.testing.assert_close(convolve(grad, adjoint_kernel(kernel)), expected[0])
    assert convolve_backward(grad, x, kernel)[2] is None


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("image", [(1, 1), (3, 1), (2, 4), (6, 5)])
def test_a_dense_kernel_is_the_matrix_of_the_convolution(size: int, image: tuple[int, int]) -> None:
    kernel = torch.randn(3, 2, size, size, dtype=torch.float64, requires_grad=True)
    dense = dense_kernel(kernel, image)
    assert dense.shape[2:] == (1, 1)
    if size % 2:
        assert torch.equal(dense.flatten(1), conv_matrix(kernel, image))
    x, grad = (torch.randn(2, channels, *image, dtype=torch.float64) for channels in (2, 3))
    expected = F.conv2d(F.pad(x, (size // 2, (size - 1) // 2) * 2), kernel)
    found = convolve(x.flatten(1)[..., None, None], dense).view_as(expected)
    torch.testing.assert_close(found, expected)
    of_kernel = [torch.autograd.grad(each, kernel, grad)[0] for each in (found, expected)]
    torch.testing.assert_close(*of_kernel)
