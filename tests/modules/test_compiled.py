import copy
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters
from torch._inductor.config import patch

from lightning_flows.errors import UsageError
from lightning_flows.flows import Flow, ResidualFlow
from lightning_flows.functional.precision import is_reduced
from lightning_flows.modules import FlowModule, GraphFlowModule, ImageFlowModule, VectorFlowModule
from lightning_flows.modules.compiled import CompiledTerms
from lightning_flows.nets import DenseSizes
from lightning_flows.transforms import ActNorm, Bias, Compose
from tests.flows.cases import FAMILIES, GRAPH, IMAGE, NUMBERS
from tests.small_modules import SMALL_VARIATIONAL, image_module

ROULETTE = partial(ResidualFlow, hidden_channels=6, num_levels=1, steps_per_level=1, split=DenseSizes(4, 1, 3))
MODULES = {IMAGE: ImageFlowModule, GRAPH: GraphFlowModule, NUMBERS: VectorFlowModule}
CASES: dict[str, Callable[[], FlowModule]] = {
    **{
        name: lambda case=case: MODULES[case.event_shape](None, case.build())
        for name, case in FAMILIES.items()
        if case.event_shape in MODULES
    },
    "residual_roulette": lambda: ImageFlowModule((3, 6, 8), ROULETTE),
    "variational": lambda: image_module(dequantization=SMALL_VARIATIONAL),
    "recompute": lambda: image_module(dequantization=SMALL_VARIATIONAL, recompute=True),
}


@pytest.fixture(autouse=True)
def _no_earlier_graphs() -> Iterator[None]:
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()


def batch_of(module: FlowModule, num: int = 4) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(num)
    if isinstance(module, GraphFlowModule):
        return {"nodes": torch.randn(num, *module.event_shape, generator=generator, dtype=torch.float64)}
    if isinstance(module, VectorFlowModule):
        return {"row": torch.randn(num, *module.event_shape, generator=generator, dtype=torch.float64)}
    images = torch.randint(256, (num, *module.event_shape), generator=generator, dtype=torch.uint8)
    return {"image": images}


def built(name: str) -> tuple[FlowModule, dict[str, Tensor]]:
    """A module in float64 with perturbed parameters, and a batch."""
    torch.manual_seed(2)
    module = CASES[name]().double()
    module.log = lambda *args, **options: None
    module.batch_size_of = lambda batch: 4
    batch = batch_of(module)
    module.training_step(batch, 0)  # initializes ActNorm
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return module, batch


def loss_and_gradients(module: FlowModule, batch: dict[str, Tensor], step: int) -> tuple[Tensor, ...]:
    loss = module.training_step(batch, step)["loss"]
    return loss, *torch.autograd.grad(loss, list(module.parameters()))


@pytest.mark.parametrize("name", CASES)
def test_compiled_steps_equal_eager_ones_in_one_graph(name: str) -> None:
    module, batch = built(name)
    twin = copy.deepcopy(module)
    module.compiled_terms = CompiledTerms("aot_eager")
    for step in range(3):
        found = [loss_and_gradients(each, batch, step) for each in (module, twin)]
        torch.testing.assert_close(*found, rtol=1e-7, atol=1e-9)
    for (key, value), other in zip(module.state_dict().items(), twin.state_dict().values(), strict=True):
        torch.testing.assert_close(value, other, rtol=1e-7, atol=1e-9, msg=key)
    assert counters["stats"]["unique_graphs"] == 1


def test_a_cuda_graph_finds_buffers_at_the_same_place() -> None:
    module, batch = built("sylvester")
    twin = copy.deepcopy(module)
    module.compiled_terms = CompiledTerms("cudagraphs")
    for step in range(3):
        places = {name: buffer.data_ptr() for name, buffer in module.named_buffers()}
        found = [loss_and_gradients(each, batch, step) for each in (module, twin)]
        torch.testing.assert_close(*found, rtol=1e-7, atol=1e-9)
    assert {name: buffer.data_ptr() for name, buffer in module.named_buffers()} == places
    for (key, value), other in zip(module.state_dict().items(), twin.state_dict().values(), strict=True):
        torch.testing.assert_close(value, other, rtol=1e-7, atol=1e-9, msg=key)


@pytest.mark.parametrize("name", sorted(CASES.keys() - {"residual_roulette"}))  # whose loop torch compiles in any case
def test_no_function_changes_its_outputs_in_place(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With torch 2.11, compiled gradients of a function that does are wrong."""

    def checked(forward: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            result = forward(*args)
            values = result if isinstance(result, tuple) else (result,)
            assert not any(isinstance(value, Tensor) and value._version for value in values)
            return result

        return call

    module, batch = built(name)
    for function in torch.autograd.Function.__subclasses__():
        if function.__module__.startswith("lightning_flows."):
            monkeypatch.setattr(function, "forward", staticmethod(checked(function.forward)))
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    module.training_step(batch, 1)


def test_smaller_batches_run_eagerly() -> None:
    module, _ = built("coupling")
    module.compiled_terms = CompiledTerms("aot_eager")
    graphs = []
    for size in (4, 4, 3, 4, 1, 6, 6, 4):
        module.training_step(batch_of(module, size), 0)["loss"].backward()
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs == [0, 1, 1, 1, 1, 2, 2, 2]  # only a larger batch is compiled again


def test_actnorm_is_initialized_before_compiling() -> None:
    module = CASES["sylvester"]()
    module.compiled_terms, module.log = CompiledTerms("aot_eager"), lambda *args, **options: None
    batch, graphs = batch_of(module), []
    for size in (0, 4, 4):
        module.training_step({"image": batch["image"][:size], "index": torch.arange(size)}, 0)
        graphs.append(counters["stats"].get("unique_graphs", 0))
    assert graphs == [0, 0, 1]
    assert all(layer.initialized for layer in module.modules() if isinstance(layer, ActNorm))


def test_copies_of_a_compiled_module_have_their_own_weights() -> None:
    module, batch = built("coupling")
    module.compiled_terms = CompiledTerms("aot_eager")
    before = module.training_step(batch, 0)["loss"]
    other = copy.deepcopy(module)
    with torch.no_grad():
        other.model.flow.base.mean += 1
    assert other.training_step(batch, 0)["loss"] > before + 1e-3
    assert module.training_step(batch, 0)["loss"] == before


class Reads(Bias):
    """A layer that reads a value from its input."""

    def forward(self, x: Tensor, context: Any = None) -> Any:
        return super().forward(x if float(x.sum()) > 0 else 2 * x)


def test_a_layer_that_cannot_be_traced_is_refused_in_one_line() -> None:
    module = ImageFlowModule(None, Flow(Compose([Reads(IMAGE)]), event_shape=IMAGE))
    module.compiled_terms, module.log = CompiledTerms("aot_eager"), lambda *args, **options: None
    batch = batch_of(module) | {"index": torch.arange(4)}
    module.training_step(batch, 0)
    with pytest.raises(
        UsageError, match=r"torch\.compile cannot trace the training step \(.*\): omit --compile$"
    ) as info:
        module.training_step(batch, 1)
    assert "\n" not in str(info.value)


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(UsageError, match=r"foo is not a backend of torch\.compile: use .*, or one of .*inductor"):
        CompiledTerms("foo")


def test_an_old_torch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.10.0+cu128")
    with pytest.raises(
        UsageError, match=r"^--compile needs torch 2\.11 or newer, and this is 2\.10\.0\+cu128: upgrade"
    ):
        CompiledTerms()


def test_a_missing_compiler_is_noticed_before_training() -> None:
    with (
        patch({"cpp.cxx": (None, "/bin/false")}),
        pytest.raises(UsageError, match=r"does not work here.*install a C\+\+"),
    ):
        CompiledTerms().check(torch.device("cpu"))
    CompiledTerms("aot_eager").check(torch.device("cpu"))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_generated_code_equals_eager_steps() -> None:
    module, batch = built("residual_roulette")
    twin = copy.deepcopy(module)
    module.compiled_terms = CompiledTerms()
    module.compiled_terms.check(module.device)
    for step in range(4):
        found = [loss_and_gradients(each, batch, step) for each in (module, twin)]
        torch.testing.assert_close(*found, rtol=1e-7, atol=1e-9)


def test_a_graph_runs_in_full_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    module, batch = built("coupling")
    module.compiled_terms, seen = CompiledTerms("aot_eager"), []
    module.training_step(batch, 0)
    monkeypatch.setattr(module.compiled_terms, "_function", lambda *args: seen.append(is_reduced("cpu")) or terms)
    terms = module.training_terms(*module.training_inputs(batch, 1))
    torch.set_float32_matmul_precision("medium")
    try:
        module.training_step(batch, 1)
        assert is_reduced("cpu")
    finally:
        torch.set_float32_matmul_precision("highest")
    assert seen == [False]
