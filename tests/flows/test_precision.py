"""What is inverted or enters a log-determinant runs in full precision; conditioner nets may run in less."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.tf32 import TF32
from lightning_flows.dequantization import DequantizedFlow, VariationalDequantization
from lightning_flows.functional.precision import MODES, is_reduced
from lightning_flows.nets import DenseSizes
from lightning_flows.nets.spectral_norm import bind
from tests.flows.cases import FAMILIES, IMAGE, family

PRODUCTS = ("conv", "mm", "bmm", "mv", "dot", "linalg", "attention", "lu_", "triangular", "slogdet")


class Marked(nn.Module):
    """A conditioner net that reports whether it is running."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.depth = net, 0

    def bind(self, *, update: bool = False) -> Callable[..., Any]:
        return self._marked(bind(self.net, update=update))

    def forward(self, *args: Any) -> Any:
        return self.bind(update=True)(*args)

    def __getattr__(self, name: str) -> Any:
        if name in ("encode", "decode", "solve"):
            return self._marked(getattr(self.net, name))
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("net"), name)

    def _marked(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.depth += 1
            try:
                return function(*args, **kwargs)
            finally:
                self.depth -= 1

        return call


class Products(TorchDispatchMode):
    """Records matrix products and convolutions: whether a net is running, and whether their precision is reduced."""

    def __init__(self, nets: list[Marked]) -> None:
        super().__init__()
        self.nets = nets
        self.found: dict[bool, set[tuple[str, bool]]] = {False: set(), True: set()}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.name().removeprefix("aten::")
        if any(part in name for part in PRODUCTS):
            halves = any(isinstance(arg, Tensor) and arg.dtype == torch.bfloat16 for arg in args)
            running = any(net.depth for net in self.nets)
            self.found[running].add((name, is_reduced("cpu") or halves))
        return function(*args, **(kwargs or {}))


def set_modes(precision: str) -> None:
    for mode in MODES["cpu"]:
        mode.fp32_precision = precision
    if not MODES["cpu"]:  # before torch 2.9
        torch.set_float32_matmul_precision("highest" if precision == "none" else "high")


@pytest.fixture(params=["autocast", "flags", "both"])
def reduced(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param != "autocast":
        torch.set_float32_matmul_precision("medium")
        set_modes("bf16")
    with torch.autocast("cpu", torch.bfloat16, enabled=request.param != "flags"):
        yield
    torch.set_float32_matmul_precision("highest")
    set_modes("none")


def mark(model: nn.Module) -> list[Marked]:
    for module in list(model.modules()):
        for name in ("net", "context_net"):
            if isinstance(getattr(module, name, None), nn.Module):
                setattr(module, name, Marked(getattr(module, name)))
    return [module for module in model.modules() if isinstance(module, Marked)]


def assert_full_outside_nets(products: Products) -> None:
    outside, inside = products.found[False], products.found[True]
    assert not {name for name, is_reduced in outside if is_reduced}
    assert not products.nets or {is_reduced for _, is_reduced in inside} >= {True}


@pytest.mark.parametrize("name", FAMILIES)
def test_families(name: str, reduced: None) -> None:
    flow, x = family(name, torch.float32)
    for buffer_name, buffer in flow.named_buffers():
        if buffer_name.endswith("initialized"):
            buffer.fill_(False)
    nets = mark(flow)
    with Products(nets) as densities:
        flow.train().log_prob(x)
        flow.eval().log_prob(x)
    assert_full_outside_nets(densities)
    with Products(nets) as round_trips:
        flow.decode(flow.encode(x))
        flow.decode_reported(flow.encode(x))
        flow.sample(2)
        flow.sample_and_log_prob(2)
    found = round_trips.found[False] | round_trips.found[True]
    assert {is_reduced for _, is_reduced in found} == {False}  # nets included


def test_dequantization(reduced: None) -> None:
    net = DenseSizes(4, 1, 2)
    noise = VariationalDequantization(IMAGE, num_steps=1, net=net, context=net, mixing="conv_exponential")
    model = DequantizedFlow(family("sylvester", torch.float32)[0], noise).train()
    with Products(mark(model)) as products:
        model(torch.randint(256, (2, *IMAGE), dtype=torch.uint8))
    assert products.found[False]
    assert_full_outside_nets(products)


@pytest.mark.parametrize("name", ["sylvester", "coupling", "residual", "glow_emerging", "glow_conv_exponential"])
@torch.no_grad()
def test_tf32_does_not_reach_round_trips(name: str) -> None:
    """With inputs of products rounded as TF32 does where the settings permit it, and where they do not."""
    flow, x = family(name)
    exact, flow, x = flow.log_prob(x), flow.float(), x.float()

    def errors(mode: AbstractContextManager[object], precision: str) -> tuple[Tensor, Tensor]:
        set_modes(precision)
        with mode:
            found = (flow.decode(flow.encode(x)) - x).abs().max(), (flow.log_prob(x) - exact).abs().max()
        set_modes("none")
        return found

    round_trip, density = errors(nullcontext(), "none")
    in_nets, density_in_nets = errors(TF32(), "tf32")
    everywhere, density_everywhere = errors(TF32(everywhere=True), "none")
    assert in_nets == round_trip
    assert 2 * density < density_in_nets < 1e-3
    assert everywhere > 20 * round_trip
    assert density_everywhere > 2 * density
