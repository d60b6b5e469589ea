"""A call in one thread changes nothing for another, nor for a copy of the model."""

import copy
import threading
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lightning_flows.distributions import DiagonalGaussian
from lightning_flows.flows import Flow
from lightning_flows.functional.parts import note_part, noted_parts
from lightning_flows.nets import LipschitzConvNet
from lightning_flows.nets.spectral_norm import frozen_power_iteration
from lightning_flows.transforms import ConvExponential, ResidualBlock
from lightning_flows.transforms.base import log_det_wanted, without_log_det

SHAPE = (2, 2, 2)


class Waits(nn.Module):
    """A contraction that stays inside of a first call until it is let go."""

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
    flow = Flow(ResidualBlock(Waits(net)), DiagonalGaussian(SHAPE)).double().eval()
    alone = Flow(ResidualBlock(net), flow.base).eval()
    x = torch.randn(3, *SHAPE, dtype=torch.float64)

    def during() -> None:
        _, log_det = flow.transform.inverse(x)
        torch.testing.assert_close(log_det, alone.transform.inverse(x)[1], rtol=0, atol=0)
        assert log_det.abs().min() > 1e-3
        sample, log_prob = flow.sample_and_log_prob(3)
        torch.testing.assert_close(log_prob, alone.log_prob(sample), rtol=0, atol=1e-9)

    in_thread(lambda: flow.decode(x), during, flow.transform.function)


def test_an_inverse_in_one_thread_leaves_the_power_iterations_of_another() -> None:
    waits = Waits(nn.Identity())

    def inverse() -> None:
        with frozen_power_iteration(), without_log_det(), noted_parts() as parts:
            waits(torch.zeros(1))
            assert not log_det_wanted()
            assert parts == {}

    layer = ConvExponential((2, 3, 3)).train()
    with torch.no_grad():
        layer.weight.normal_()

    def during() -> None:
        before = layer.spectral_norm.vector.clone()
        layer(torch.zeros(1, 2, 3, 3))
        assert not torch.equal(layer.spectral_norm.vector, before)
        assert log_det_wanted()
        note_part("of this thread", torch.ones(1))

    in_thread(inverse, during, waits)


def test_a_copy_and_a_second_model_are_independent() -> None:
    block = ResidualBlock(LipschitzConvNet(SHAPE, 4)).double().train()
    twin, x = copy.deepcopy(block), torch.randn(3, *SHAPE, dtype=torch.float64)
    state = copy.deepcopy(block.state_dict())
    twin(x)
    twin.inverse(x)
    assert block.report is None
    assert block.log_det_report is None
    assert all(torch.equal(value, state[name]) for name, value in block.state_dict().items())
    with without_log_det():
        assert not block.inverse(x)[1].any()
    assert block.inverse(x)[1].abs().min() > 1e-5


@torch.no_grad()
def test_compiled_code_asks_anew_whether_the_log_determinant_is_wanted() -> None:
    torch.compiler.reset()
    flow = Flow(ResidualBlock(LipschitzConvNet(SHAPE, 4)), DiagonalGaussian(SHAPE)).double().eval()
    z = torch.randn(3, *SHAPE, dtype=torch.float64)
    expected = flow.transform.inverse(z)
    inverse = torch.compile(flow.transform.inverse, backend="eager")
    with without_log_det():
        assert not inverse(z)[1].any()
    torch.testing.assert_close(inverse(z), expected, rtol=0, atol=1e-12)
    decode = torch.compile(flow.decode, backend="eager")
    torch.testing.assert_close(decode(z), expected[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(inverse(z), expected, rtol=0, atol=1e-12)


def test_compiled_code_asks_anew_whether_power_iterations_are_frozen() -> None:
    torch.compiler.reset()
    layer = ConvExponential((2, 3, 3)).train()
    with torch.no_grad():
        layer.weight.normal_()
    kernel, inverse, moved = (
        torch.compile(layer.kernel, backend="eager"),
        torch.compile(layer.inverse, backend="eager"),
        [],
    )
    for function in (kernel, lambda: inverse(torch.zeros(1, 2, 3, 3)), kernel):
        before = layer.spectral_norm.vector.clone()
        function()
        moved.append(not torch.equal(layer.spectral_norm.vector, before))
    with frozen_power_iteration():
        before = layer.spectral_norm.vector.clone()
        kernel()
    assert torch.equal(layer.spectral_norm.vector, before)
    assert moved == [True, False, True]
