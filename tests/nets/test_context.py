import pytest
import torch

from lightning_flows.nets import ContextNet, DenseSizes


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_half_the_resolution(dtype):
    net = ContextNet(3, DenseSizes(5, 2, 4)).to(dtype)
    x = torch.randn(2, 3, 6, 8, dtype=dtype, requires_grad=True)
    context = net(x)
    assert context.shape == (2, 5, 3, 4)
    assert context.dtype == dtype
    context.square().sum().backward()
    assert x.grad.abs().amin() > 0  # every pixel is seen
    assert all(parameter.grad.abs().max() > 0 for parameter in net.parameters())


def test_dense_block_strided_convolution_dense_block():
    first, middle, last = ContextNet(3, DenseSizes(5, 2, 4))
    assert (middle.kernel_size, middle.stride, middle.bias is None) == ((2, 2), (2, 2), False)
    assert [len(block.layers) for block in (first, last)] == [2, 2]
