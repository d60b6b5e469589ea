import pytest
import torch
from torch import Tensor

from lightning_flows.nets import LipschitzConvNet
from lightning_flows.nets.linearization import linearize
from lightning_flows.nets.lipschitz import LipSwish
from tests.transforms.cases import perturb


def test_swish_and_its_derivatives():
    swish = LipSwish().double()
    y = 3 * torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    slope = torch.nn.functional.softplus(swish.beta)
    torch.testing.assert_close(swish(y), y * torch.sigmoid(slope * y) / 1.1)

    def apply(value, beta):
        return torch.func.functional_call(swish, {"beta": beta}, (value,))

    assert torch.autograd.gradcheck(apply, (y, swish.beta))
    assert torch.autograd.gradgradcheck(apply, (y, swish.beta))


def test_slope_of_swish_is_at_most_one():
    for beta in (-3.0, 0.5, 4.0):
        swish = LipSwish().double()
        swish.beta.data.fill_(beta)
        reach = 20 / torch.nn.functional.softplus(swish.beta).item()
        y = torch.linspace(-reach, reach, 4001, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(swish(y).sum(), y)
        assert 0.9 < slope.max() <= 1
        assert slope.min() > -0.2


def test_net_keeps_shape_and_dtype():
    net = LipschitzConvNet((3, 4, 6), 8)
    x = torch.randn(2, 3, 4, 6)
    assert net(x).shape == x.shape
    with torch.autocast("cpu", torch.bfloat16):
        assert net(x).dtype == torch.float32


SHAPE = (2, 3, 4)


def example() -> tuple[LipschitzConvNet, Tensor, Tensor, Tensor]:
    """A net with random parameters, a point and two vectors."""
    x, s, v = torch.randn(3, 2, *SHAPE, dtype=torch.float64)
    return perturb(LipschitzConvNet(SHAPE, 3).double(), x, noise=0.3).eval(), x, s, v


def test_linearization_is_that_of_autograd():
    """Value, both products, and their gradients."""
    net, x, s, v = example()
    found, expected = ([], [])
    for function, results in ((net.bind(), found), (net.bind().__call__, expected)):
        point = x.clone().requires_grad_()
        at = linearize(function, point)
        loss = at.value.square().sum() + at.product(s, v).sum() ** 2
        gradients = torch.autograd.grad(loss, [point, *net.parameters()], retain_graph=True)
        results += [at.value, at.pull(v), at.product(s, v).flatten(1).sum(1), *gradients]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


def test_derivatives_of_a_linearization():
    """Of first and second order, and where a backward keeps no graph and works in place."""
    net, x, s, v = example()
    names, parameters = zip(*net.named_parameters(), strict=True)

    def evaluate(x: Tensor, *values: Tensor) -> tuple[Tensor, Tensor]:
        with torch.nn.utils.stateless._reparametrize_module(net, dict(zip(names, values, strict=True))):
            at = net.bind().linearize(x)
            return at.value, at.product(s, v).flatten(1).sum(1)

    inputs = (x.requires_grad_(), *parameters)
    assert torch.autograd.gradcheck(evaluate, inputs)
    assert torch.autograd.gradgradcheck(evaluate, inputs, fast_mode=True)
    outputs = sum(output.square().sum() for output in evaluate(*inputs))
    in_place = torch.autograd.grad(outputs, inputs, retain_graph=True)
    torch.testing.assert_close(in_place, torch.autograd.grad(outputs, inputs, create_graph=True))
    torch.testing.assert_close(in_place, torch.autograd.grad(outputs, inputs))


def test_linearization_supports_function_transforms():
    net, x, s, v = example()

    def loss(x: Tensor) -> Tensor:
        at = net.bind().linearize(x[None])
        return at.value.square().sum() + at.product(s[:1], v[:1]).sum()

    each = torch.stack([torch.func.grad(loss)(image) for image in x])
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(loss))(x), each)


@pytest.mark.parametrize("num_products", [0, 1, 2])
def test_graph_of_a_linearization_keeps_inputs_of_swishes_alone(num_products):
    net = LipschitzConvNet((1, 8, 8), 50)
    x = torch.randn(4, 1, 8, 8)
    sizes = {}

    def pack(tensor: Tensor) -> Tensor:
        sizes[tensor.data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        at = net.bind().linearize(x)
        kept = [at.product(x, x) for _ in range(num_products)]
    hidden = 4 * 50 * 64
    assert sum(size == hidden for size in sizes.values()) == 2 + 2 * len(kept)
