"""The net of a Sylvester layer and its gate as one operation, against both in turn."""

import pytest
import torch
from torch import Tensor

from lightning_flows.nets import AutoregressiveConvNet
from lightning_flows.nets.gated_net import Gated, gated_net
from tests.transforms.cases import perturb


def bound(width: int, shape=(2, 3, 4)):
    """A net with perturbed weights, its kernels evaluated, and an input."""
    net = AutoregressiveConvNet(shape, width).double()
    y = torch.randn(2, *shape, dtype=torch.float64, requires_grad=True)
    perturb(net, y.detach())
    return net, net.eval().bind(), y


def derivatives(outputs, inputs, weights) -> list[Tensor]:
    return list(torch.autograd.grad(sum((x * w).sum() for x, w in zip(outputs, weights, strict=True)), inputs))


@pytest.mark.parametrize("width", [3, 12, 300])  # heads wider than the hidden layer, narrower, and several blocks
def test_equals_the_gate_of_the_net(width):
    net, function, y = bound(width)
    one, other = gated_net(y, function, 0.5), Gated.apply(y, *net.bind()(y), 0.5)
    torch.testing.assert_close(one, other, rtol=0, atol=1e-14)
    weights, inputs = [torch.randn_like(y) for _ in range(2)], [y, *net.parameters()]
    gradients = [derivatives(pair, inputs, weights) for pair in (one, other)]
    torch.testing.assert_close(*gradients, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("which", [0, 1])
def test_gradient_of_one_output_alone(which):
    _, function, y = bound(5)
    found, expected = (
        torch.autograd.grad(pair[which].sum(), y)[0]
        for pair in (gated_net(y, function, 0.5), Gated.apply(y, *function(y), 0.5))
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("width", [3, 12])
def test_derivatives_of_first_and_second_order(width):
    _, function, y = bound(width)

    def of(*tensors):
        changed = function._replace(kernels=[tensors[1]], columns=[tensors[2]], heads=tensors[3], bias=tensors[4])
        return gated_net(tensors[0], changed, 0.5)

    given = y, function.kernels[0], function.columns[0], function.heads, function.bias
    arguments = [x.detach().clone().requires_grad_() for x in given]
    assert torch.autograd.gradcheck(of, arguments, fast_mode=True)
    assert torch.autograd.gradgradcheck(of, arguments, fast_mode=True)


def test_function_transforms():
    _, function, y = bound(5)
    jacobian = torch.func.jacrev(lambda value: gated_net(value, function, 0.5)[0])(y.detach())
    expected = torch.autograd.functional.jacobian(lambda value: Gated.apply(value, *function(value), 0.5)[0], y)
    torch.testing.assert_close(jacobian, expected, rtol=0, atol=1e-13)


def test_keeps_neither_padded_images_nor_the_outputs_of_the_net():
    _, function, y = bound(12)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        gated_net(y, function, 0.5)
    images = [x.shape[1:] for x in kept if x.shape[0] == len(y) and x.shape[2:] == y.shape[2:]]
    assert sorted(images) == sorted([*[y.shape[1:]] * 4, *[(12, *y.shape[2:])] * 2])
    assert not any(x.ndim == 4 and x.shape[2] == y.shape[2] + 1 for x in kept)
