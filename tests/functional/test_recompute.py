from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_flows.errors import UsageError
from lightning_flows.functional.recompute import Recomputation


class Net(nn.Module):
    """A net with dropout that also takes a context, and returns a report."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last, self.dropout = nn.Linear(3, 8), nn.Linear(8, 3), nn.Dropout(0.5)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor, list[tuple[int, Tensor]]]:
        h = self.dropout(torch.tanh(self.first(x)))
        h = h if context is None else h * context
        return self.last(h).to(x.dtype), h.square().sum(1), [(1, torch.zeros(len(x)))]


class Norm(nn.Module):
    """A linear map by a vector that each forward replaces."""

    vector: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 3, dtype=torch.float64))
        self.register_buffer("vector", torch.ones(3, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        y = x @ self.weight / (self.weight @ self.vector).norm()
        self.vector = F.normalize(self.weight.detach() @ self.vector, dim=0)
        return y


class OwnGenerator(nn.Linear):
    def __init__(self) -> None:
        super().__init__(3, 3)
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.randn(x.shape, generator=self.generator)


class Counter(nn.Linear):
    def __init__(self) -> None:
        super().__init__(3, 3)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x) * self.calls


class Batches(nn.Module):
    """Counts in place, without an effect on the output."""

    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        return x * self.weight


def gradients(net: nn.Module, call: Callable[..., object], *inputs: Tensor) -> list[Tensor | None]:
    """Outputs and gradients of a call with equal random numbers."""
    torch.manual_seed(0)
    z, log_det, _ = call(*inputs)
    wanted = [*net.parameters(), *inputs]
    found = torch.autograd.grad(z.sin().sum() + log_det.sum(), wanted, allow_unused=True)
    return [z.detach(), log_det.detach(), *found]


@pytest.mark.parametrize("autocast", [False, True])
def test_values_and_gradients_are_those_without(autocast: bool) -> None:
    net, x, context = Net(), torch.randn(4, 3, requires_grad=True), torch.randn(4, 8, requires_grad=True)
    recompute = Recomputation()
    calls = [net, lambda *args: recompute("net", net, "__call__", *args)]
    for inputs in ((x, context), (x,)):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            plain, recomputed = (gradients(net, call, *inputs) for call in calls)
        for one, other in zip(recomputed, plain, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert recompute("net", net, "__call__", x)[2][0][0] == 1


def test_a_backward_outside_autocast_repeats_it() -> None:
    net, x, found = Net().eval(), torch.randn(4, 3), []
    for call in (net, lambda x: Recomputation()("net", net, "__call__", x)):
        with torch.autocast("cpu", torch.bfloat16):
            z, *_ = call(x)
        found.append(torch.autograd.grad(z.sum(), [*net.parameters()]))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_only_inputs_are_kept() -> None:
    net, x, kept = Net(), torch.randn(4, 3), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        Recomputation()("net", net, "__call__", x)
    own = {p.data_ptr() for p in net.parameters()}
    assert [tensor.data_ptr() for tensor in kept if tensor.data_ptr() not in own] == [x.data_ptr()]


def test_buffers_and_parameters_are_those_of_the_forward() -> None:
    """Two forwards, then one backward."""
    found = []
    for recompute in (None, Recomputation()):
        torch.manual_seed(0)
        net, x = Norm(), torch.randn(4, 3, dtype=torch.float64)
        ys = [net(x) if recompute is None else recompute("net", net, "__call__", x) for _ in range(2)]
        vector = net.vector
        (ys[0] * ys[1]).sum().backward()
        assert net.vector is vector
        found.append((net.weight.grad, vector))
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-12)


def test_replaced_parameters_are_used_in_the_backward() -> None:
    net, x = nn.Linear(3, 3), torch.randn(4, 3)

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.recompute = net, Recomputation()

        def forward(self, x: Tensor) -> Tensor:
            return self.recompute("net", self.net, "__call__", x).square()

    others = {name: torch.randn_like(p).requires_grad_() for name, p in Outer().named_parameters()}
    y = torch.func.functional_call(Outer(), others, x)
    found = torch.autograd.grad(y.sum(), [*others.values()])
    expected = F.linear(x, others["net.weight"], others["net.bias"]).square()
    torch.testing.assert_close(found, torch.autograd.grad(expected.sum(), [*others.values()]))


def test_the_gradient_of_a_gradient() -> None:
    net, x, found = Net().double().eval(), torch.randn(4, 3, dtype=torch.float64, requires_grad=True), []
    for call in (net, lambda x: Recomputation()("net", net, "__call__", x)):
        z, log_det, _ = call(x)
        (slope,) = torch.autograd.grad(z.square().sum() + log_det.sum(), x, create_graph=True)
        found.append(torch.autograd.grad(slope.square().sum(), [x, *net.parameters()], allow_unused=True))
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-12)


def test_hooks_of_parameters_and_inputs_run_once() -> None:
    net, x, calls = nn.Linear(3, 3), torch.randn(4, 3, requires_grad=True), []
    y = 2 * x
    for tensor in (net.weight, y):
        tensor.register_hook(lambda grad: calls.append(1))
    net.weight.register_post_accumulate_grad_hook(lambda p: calls.append(2))
    Recomputation()("net", net, "__call__", y).sum().backward()
    assert sorted(calls) == [1, 1, 2]


def test_weights_changed_before_the_backward_are_an_error() -> None:
    net = Net()
    z, *_ = Recomputation()("net", net, "__call__", torch.randn(4, 3))
    with torch.no_grad():
        net.last.weight.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


@pytest.mark.parametrize("layer", [OwnGenerator, Counter, Batches])
def test_other_state_is_detected_and_the_layer_named(layer: type[nn.Module]) -> None:
    net = nn.Sequential(nn.Linear(3, 3), layer(), nn.Tanh())
    y = Recomputation("steps.")("0", net, "__call__", torch.randn(4, 3))
    name = rf"steps\.0\.1 \({layer.__name__}\)" if layer is not Batches else r"steps\.0 \(Sequential\)"
    with pytest.raises(UsageError, match=rf"^{name} returns a different result when .* recompute=False$"):
        y.sum().backward()


def test_an_honest_layer_is_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    net, recompute, reads, allclose = Net(), Recomputation(), [], torch.allclose
    monkeypatch.setattr(torch, "allclose", lambda *args, **options: reads.append(1) or allclose(*args, **options))
    for _ in range(3):
        recompute("net", net, "__call__", torch.randn(4, 3))[0].sum().backward()
    assert len(reads) == 3
