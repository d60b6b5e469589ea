import pytest
import torch
import torch.nn.functional as F

from lightning_flows.functional.convolution import adjoint_kernel, convolve, convolve_backward


@pytest.mark.parametrize("size", [1, 3, 5])
def test_adjoint_and_gradients_are_those_of_autograd(size: int) -> None:
    x, grad = torch.randn(2, 3, 6, 5, dtype=torch.float64), torch.randn(2, 4, 6, 5, dtype=torch.float64)
    kernel, bias = torch.randn(4, 3, size, size, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    torch.testing.assert_close(convolve(x, kernel, bias), F.conv2d(x, kernel, bias, padding="same"))
    inputs = [each.requires_grad_() for each in (x, kernel, bias)]
    expected = torch.autograd.grad(convolve(*inputs), inputs, grad)
    torch.testing.assert_close(convolve_backward(grad, x, kernel, wanted=(True, True, True)), expected)
    torch.testing.assert_close(convolve(grad, adjoint_kernel(kernel)), expected[0])
    assert convolve_backward(grad, x, kernel)[2] is None
