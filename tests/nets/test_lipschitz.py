import torch

from lightning_flows.nets import LipschitzConvNet
from lightning_flows.nets.lipschitz import LipSwish


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
