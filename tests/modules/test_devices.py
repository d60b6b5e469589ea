"""No tensor of a wrong device: training and sampling with fake CUDA tensors, and a whole step on the meta device.

A fake tensor knows its shape and device, and an operation on those of two devices fails, as it would on a GPU.
Gradients need a driver even so, and are computed of meta tensors.
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from lightning_flows import flows
from lightning_flows.dequantization import VariationalDequantization
from lightning_flows.functional import solver
from lightning_flows.functional.fixed_point import InverseReport, Solution
from lightning_flows.modules import FlowModule, VectorFlowModule, base, diagnosis
from lightning_flows.nets import AttentionSizes, DenseSizes
from lightning_flows.transforms.image.mixing import MIXINGS
from tests.small_modules import graph_module, image_module, vector_module

IMAGES, GRAPHS = (3, 8, 8), (4, 2)
DENSE = {"num_levels": 2, "steps_per_level": 1}
NOISE = partial(VariationalDequantization, num_steps=1, net=DenseSizes(8, 1, 8))
CASES = {
    "sylvester": partial(image_module, IMAGES),
    "sylvester, variational": partial(image_module, IMAGES, dequantization=NOISE),
    "coupling": partial(image_module, IMAGES, flows.CouplingFlow, **DENSE),
    "residual": partial(image_module, IMAGES, flows.ResidualFlow, **DENSE),
    **{f"glow, {mixing}": partial(image_module, IMAGES, flows.GlowFlow, mixing=mixing, **DENSE) for mixing in MIXINGS},
    "autoregressive": partial(vector_module, flows.AutoregressiveFlow),
    "sylvester on vectors": partial(vector_module, flows.SylvesterVectorFlow, num_layers=2),
    "graph coupling": partial(graph_module, GRAPHS, flows.GraphCouplingFlow),
    "gnf": partial(graph_module, GRAPHS),
    "set autoregressive": partial(graph_module, GRAPHS, flows.SetAutoregressiveFlow, net=AttentionSizes(8)),
}


@pytest.fixture(params=CASES)
def module(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> FlowModule:
    """A module without the checks for non-finite values, the only code that reads values."""
    monkeypatch.setattr(diagnosis.FiniteSteps, "add", lambda *args: None)
    monkeypatch.setattr(base, "forked", lambda *args, **options: nullcontext())  # states of generators have values
    found: FlowModule = CASES[request.param]()
    found.log = lambda *args, **kwargs: None
    return found


def like(tensor: Tensor, device: str) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)


def move(module: nn.Module, device: str) -> None:
    """Move only parameters and buffers to a device, as ``to`` would."""
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
    if isinstance(module, VectorFlowModule):
        return {"row": torch.zeros(4, 3, device=device), "index": torch.arange(4)}
    return {"nodes": torch.zeros(4, *GRAPHS, device=device), "index": torch.arange(4)}


def one_step(residual_map: Callable, v: Tensor, **options: Any) -> Solution:
    """Replace the solver, which drops samples depending on their values, by one iteration for all."""
    f, diagonal = residual_map(v)
    y = v - f / (1 + diagonal)
    report = InverseReport(torch.zeros(len(v), dtype=torch.long, device=v.device), y.flatten(1).amax(1))
    return Solution(y, f, diagonal, report)


@pytest.fixture
def without_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Provide values to code that reads them, since fake tensors have none."""
    monkeypatch.setattr(Tensor, "__bool__", lambda self: True)
    monkeypatch.setattr(Tensor, "__int__", lambda self: 0)
    monkeypatch.setattr(Tensor, "item", lambda self: 0.5 if self.is_floating_point() else 1)
    monkeypatch.setattr(solver, "solve_residual", one_step)
    monkeypatch.setattr(torch.autograd, "grad", lambda outputs, inputs, *args, **kwargs: (torch.zeros_like(inputs),))


def test_training_and_sampling_on_a_fake_gpu(module: FlowModule, without_values: None) -> None:
    with FakeTensorMode():
        move(module, "cuda")
        loss = module.training_step(batch(module, "cuda"), 0)["loss"]
        assert loss.device.type == "cuda"
        module.eval()
        samples = module.sample(2)
        assert samples.device.type == "cuda"


def test_a_training_step_on_the_meta_device(module: FlowModule) -> None:
    move(module, "meta")
    module.training_step(batch(module, "meta"), 0)["loss"].backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.shape == parameter.shape
