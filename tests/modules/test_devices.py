"""No tensor of a wrong device: training and sampling with fake CUDA tensors, and a whole step on the meta device.

A fake tensor knows its shape and device, and an operation on those of two devices fails, as it would on a GPU.
Gradients need a driver even so, and are computed of meta tensors.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from lightning_flows import modules
from lightning_flows.functional.fixed_point import InverseReport, Solution
from lightning_flows.modules import FlowModule, graph, image
from lightning_flows.transforms import residual, sylvester

IMAGES, GRAPHS = (3, 8, 8), (4, 2)
DENSE = {"num_levels": 2, "steps_per_level": 1}
CASES = {
    "CSF": ("CSF", IMAGES, DENSE | {"hidden_channels": 12}),
    "CSF, variational": ("CSF", IMAGES, DENSE | {"hidden_channels": 12, "dequantization": "variational"}),
    "CouplingFlow": ("CouplingFlow", IMAGES, DENSE),
    "ResidualFlow": ("ResidualFlow", IMAGES, DENSE),
    **{
        f"MixingFlow, {mixing}": ("MixingFlow", IMAGES, DENSE | {"mixing": mixing})
        for mixing in ("conv1x1", "emerging", "woodbury", "conv_exponential")
    },
    "GraphCouplingFlow": ("GraphCouplingFlow", GRAPHS, {}),
    "GraphNormalizingFlow": ("GraphNormalizingFlow", GRAPHS, {"width": 8}),
    "SetAutoregressiveFlow": ("SetAutoregressiveFlow", GRAPHS, {"width": 8}),
}


def test_every_module_is_here() -> None:
    concrete = {
        name
        for name in modules.__all__
        if isinstance(kind := getattr(modules, name), type)
        and issubclass(kind, FlowModule)
        and not getattr(kind, "__abstractmethods__", None)
    }
    assert concrete == {name for name, _, _ in CASES.values()}


@pytest.fixture(params=CASES)
def module(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> FlowModule:
    """A module whose only looks at values, for numbers that are not finite, are left out."""
    for file in (graph, image):
        monkeypatch.setattr(file, "check_finite", lambda *args: None)
    name, event_shape, options = CASES[request.param]
    found = getattr(modules, name)(event_shape, **options)
    found.log = lambda *args, **kwargs: None
    return found


def like(tensor: Tensor, device: str) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)


def move(module: nn.Module, device: str) -> None:
    """Make parameters and buffers, and nothing else, anew on a device, as ``to`` would."""
    for layer in module.modules():
        for name, parameter in layer._parameters.items():
            if parameter is not None:
                layer._parameters[name] = nn.Parameter(like(parameter, device))
        for name, buffer in layer._buffers.items():
            if buffer is not None:
                layer._buffers[name] = like(buffer, device)


def batch(module: FlowModule, device: str) -> dict[str, Tensor]:
    if module.event_shape == IMAGES:
        return {"image": torch.zeros(4, *IMAGES, dtype=torch.uint8, device=device), "index": torch.arange(4)}
    return {"nodes": torch.zeros(4, *GRAPHS, device=device), "index": torch.arange(4)}


def one_step(residual_map: Callable, v: Tensor, *, tol: float | None, max_iter: int, name: str) -> Solution:
    """Stand-in for the solver, which drops samples from the batch as their values say: one iteration for all."""
    f, diagonal = residual_map(v)
    y = v - f / (1 + diagonal)
    report = InverseReport(torch.zeros(len(v), dtype=torch.long, device=v.device), y.flatten(1).amax(1))
    return Solution(y, f, diagonal, report)


@pytest.fixture
def without_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what looks at values, which fake tensors have none of, see some."""
    monkeypatch.setattr(Tensor, "__bool__", lambda self: True)
    monkeypatch.setattr(Tensor, "__int__", lambda self: 0)
    monkeypatch.setattr(Tensor, "item", lambda self: 0.5)
    for file in (residual, sylvester):
        monkeypatch.setattr(file, "solve_residual", one_step)
    monkeypatch.setattr(torch.autograd, "grad", lambda outputs, inputs, *args, **kwargs: (torch.zeros_like(inputs),))


def test_training_and_sampling_on_a_fake_gpu(module: FlowModule, without_values: None) -> None:
    with FakeTensorMode():
        move(module, "cuda")
        loss = module.training_step(batch(module, "cuda"), 0)
        assert loss.device.type == "cuda"
        module.eval()
        samples = module.sample(2)
        assert samples.device.type == "cuda"


def test_a_training_step_on_the_meta_device(module: FlowModule) -> None:
    move(module, "meta")
    module.training_step(batch(module, "meta"), 0).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.shape == parameter.shape
