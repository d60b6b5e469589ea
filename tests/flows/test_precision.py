"""What is inverted or enters a log-determinant runs in full precision; conditioner nets may run in less."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_flows.dequantization import DequantizedFlow, VariationalDequantization
from lightning_flows.functional.precision import is_reduced
from lightning_flows.nets import DenseSizes
from lightning_flows.nets.spectral_norm import bind
from tests.flows.cases import FAMILIES, IMAGE, family

PRODUCTS = ("conv", "mm", "bmm", "mv", "dot", "linalg", "attention", "lu_", "triangular", "slogdet")


class Marked(nn.Module):
    """A conditioner net that says whether it is running."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.depth = net, 0

    def bind(self, *, update: bool = False) -> Callable[..., Any]:
        return self._marked(bind(self.net, update=update))

    def forward(self, *args: Any) -> Any:
        return self.bind(update=True)(*args)

    def __getattr__(self, name: str) -> Any:
        return self._marked(getattr(self.net, name)) if name in ("encode", "decode") else super().__getattr__(name)

    def _marked(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            self.depth += 1
            try:
                return function(*args)
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


@pytest.fixture(params=["autocast", "flags", "both"])
def reduced(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param != "autocast":
        torch.set_float32_matmul_precision("medium")
        torch.backends.mkldnn.conv.fp32_precision = "bf16"
    with torch.autocast("cpu", torch.bfloat16, enabled=request.param != "flags"):
        yield
    torch.set_float32_matmul_precision("highest")
    torch.backends.mkldnn.conv.fp32_precision = torch.backends.mkldnn.matmul.fp32_precision = "none"


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
    with Products(mark(flow)) as products:
        flow.train().log_prob(x)
        flow.eval().log_prob(x)
        flow.decode(flow.encode(x))
        flow.decode_reported(flow.encode(x))
        flow.sample_and_log_prob(2)
    assert_full_outside_nets(products)
    assert len(products.found[False]) + len(products.found[True]) > 0


def test_dequantization(reduced: None) -> None:
    net = DenseSizes(4, 1, 2)
    noise = VariationalDequantization(IMAGE, num_steps=1, net=net, context=net, mixing="conv_exponential")
    model = DequantizedFlow(family("sylvester", torch.float32)[0], noise).train()
    with Products(mark(model)) as products:
        model(torch.randint(256, (2, *IMAGE), dtype=torch.uint8))
    assert products.found[False]
    assert_full_outside_nets(products)
