"""Dense blocks against their formula: layers receive all previous channels, with gates and residual connections."""

import pytest
import torch
from torch import nn

from lightning_flows.errors import UsageError
from lightning_flows.nets.convnet import DenseBlock, DenseNet, DenseSizes


def randomized(net: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.3)
    return net.double()


@pytest.mark.parametrize("gated", [True, False])
@torch.no_grad()
def test_a_block_is_its_formula(gated: bool) -> None:
    block = randomized(DenseBlock(2, 3, DenseSizes(depth=2, growth=4), gated=gated))
    x = torch.randn(2, 2, 4, 4).double()
    h = x
    for layer in block.layers:
        h = torch.cat([h, layer(h)], dim=1)
    assert h.shape[1] == 2 + 2 * 4
    out = block.last(h)
    expected = out[:, :3] + out[:, 3:6] * out[:, 6:].sigmoid() if gated else out
    torch.testing.assert_close(block(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("width", [2, 4, 7])
@pytest.mark.parametrize("gated", [True, False])
def test_a_net_adds_its_blocks_and_takes_the_context_last(width: int, gated: bool) -> None:
    """Also where its first convolution adds channels, and is evaluated within the first block."""
    net = randomized(DenseNet(2, 3, DenseSizes(width, 2, 2), num_blocks=2, context_channels=1, gated=gated))
    x, context = torch.randn(2, 2, 4, 4).double(), torch.randn(2, 1, 4, 4).double()
    h = net.first(torch.cat([x, context], dim=1))
    for block in net.blocks:
        h = h + block(h)
    expected = net.last(h)
    torch.testing.assert_close(net(x, context), expected, rtol=0, atol=1e-12)
    weight = torch.randn_like(expected)
    found, wanted = (torch.autograd.grad((z * weight).sum(), net.parameters()) for z in (net(x, context), expected))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-11)


def test_a_net_of_blocks_without_layers() -> None:
    net = randomized(DenseNet(2, 3, DenseSizes(4, 0, 2), gated=False))
    x = torch.randn(2, 2, 4, 4).double()
    h = net.first(x)
    torch.testing.assert_close(net(x), net.last(h + net.blocks[0].last(h)), rtol=0, atol=1e-12)


def test_a_block_keeps_each_activation_once() -> None:
    block, x = (
        randomized(DenseBlock(2, 3, DenseSizes(depth=3, growth=4), gated=False)),
        torch.randn(2, 2, 4, 4).double(),
    )
    parameters = {parameter.data_ptr() for parameter in block.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in parameters:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        block(x)
    inputs = 2 + 6 + 10 + 14  # of the 1x1 convolutions; those of the 3x3 convolutions have as many channels
    assert sum(kept.values()) == x.element_size() * x[:, 0].numel() * (inputs + 2 + 6 + 10)


def test_a_block_can_be_differentiated_twice() -> None:
    block, x = randomized(DenseBlock(2, 1, DenseSizes(depth=2, growth=2))), torch.randn(1, 2, 3, 2).double()
    assert torch.autograd.gradcheck(block, x.requires_grad_())
    assert torch.autograd.gradgradcheck(block, x)


@pytest.mark.parametrize(("name", "minimum"), [("width", 1), ("depth", 0), ("growth", 1)])
def test_invalid_sizes_are_refused(name: str, minimum: int) -> None:
    DenseSizes(**{name: minimum})
    with pytest.raises(UsageError, match=f"expected {name} of at least {minimum}; got {minimum - 1}"):
        DenseSizes(**{name: minimum - 1})
