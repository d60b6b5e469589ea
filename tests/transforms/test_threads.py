"""A call in one thread does not affect another thread or a copy of the model."""

import copy
import threading
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lightning_flows.nets import LipschitzConvNet
from lightning_flows.transforms import ConvExponential, ResidualBlock

SHAPE = (2, 2, 2)


class Waits(nn.Module):
    """A contraction whose first call blocks until it is released."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.inside, self.go = net, threading.Event(), threading.Event()

    def forward(self, x: Tensor) -> Tensor:
        if threading.current_thread() is not threading.main_thread():
            self.inside.set()
            assert self.go.wait(30)
        return self.net(x)


def in_thread(function: Callable[[], object], during: Callable[[], None], waits: Waits) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    assert waits.inside.wait(30)
    try:
        during()
    finally:
        waits.go.set()
        thread.join()


@torch.no_grad()
def test_decoding_in_one_thread_leaves_the_log_determinants_of_another() -> None:
    net = LipschitzConvNet(SHAPE, 4).double().eval()
    for parameter in net.parameters():
        parameter.normal_()
    waits = Waits(net)
    block, alone = ResidualBlock(waits).eval(), ResidualBlock(net).eval()
    z = torch.randn(3, *SHAPE, dtype=torch.float64)

    def during() -> None:
        x, log_det = block.inverse(z)
        torch.testing.assert_close(log_det, alone.inverse(z)[1], rtol=0, atol=0)
        assert log_det.abs().min() > 1e-3
        torch.testing.assert_close(block(x)[1], -log_det, rtol=0, atol=1e-9)

    in_thread(lambda: block.decode(z), during, waits)


def test_an_inverse_in_one_thread_leaves_the_power_iterations_of_another() -> None:
    waits = Waits(LipschitzConvNet(SHAPE, 4)).train()
    block = ResidualBlock(waits)
    layer = ConvExponential((2, 3, 3)).train()
    with torch.no_grad():
        layer.weight.normal_()

    def during() -> None:
        before = layer.spectral_norm.vector.clone()
        layer(torch.zeros(1, 2, 3, 3))
        assert not torch.equal(layer.spectral_norm.vector, before)

    in_thread(lambda: block.inverse(torch.zeros(1, *SHAPE)), during, waits)


def test_a_copy_and_a_second_model_are_independent() -> None:
    block = ResidualBlock(LipschitzConvNet(SHAPE, 4)).double().train()
    twin, x = copy.deepcopy(block), torch.randn(3, *SHAPE, dtype=torch.float64)
    state = copy.deepcopy(block.state_dict())
    twin(x)
    twin.inverse(x)
    assert all(torch.equal(value, state[name]) for name, value in block.state_dict().items())


def test_compiled_code_steps_power_iterations_only_in_a_forward() -> None:
    torch.compiler.reset()
    layer = ConvExponential((2, 3, 3)).train()
    with torch.no_grad():
        layer.weight.normal_()
    forward, inverse = (torch.compile(function, backend="eager") for function in (layer.forward, layer.inverse))
    moved = []
    for function in (forward, inverse, forward):
        before = layer.spectral_norm.vector.clone()
        function(torch.zeros(1, 2, 3, 3))
        moved.append(not torch.equal(layer.spectral_norm.vector, before))
    assert moved == [True, False, True]
