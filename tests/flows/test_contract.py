"""What every flow promises of its inputs: empty batches, dtypes, contexts."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_flows.distributions import DiagonalGaussian
from lightning_flows.errors import InputTypeError, ShapeError
from lightning_flows.flows import (
    ConvSylvesterFlow,
    CouplingFlow,
    Flow,
    GlowFlow,
    GraphCouplingFlow,
    GraphNormalizingFlow,
    ResidualFlow,
    SetAutoregressiveFlow,
)
from lightning_flows.nets import ConvNet, DenseNet
from lightning_flows.transforms import ActNorm, AffineCoupling, Compose, Conv1x1, Squeeze
from tests.transforms.cases import perturb

IMAGE, GRAPH, SMALL = (3, 8, 8), (3, 2), (4, 4, 4)
SPLIT = {"num_levels": 2, "steps_per_level": 1, "split_width": 4, "split_depth": 1, "split_growth": 2}
RESIDUAL = SPLIT | {"hidden_channels": 6}
MIXING = {"num_levels": 2, "steps_per_level": 1, "width": 4, "depth": 1, "growth": 2}
NODES = {"num_steps": 1, "width": 8, "num_heads": 2}


def single_scale(context_channels: int = 0) -> Flow:
    net = ConvNet(2, 4, hidden_channels=5, context_channels=context_channels)
    dense = DenseNet(2, 4, width=4, depth=1, growth=2, context_channels=context_channels)
    layers = [ActNorm(4), Conv1x1(4), AffineCoupling(4, net), Conv1x1(4), AffineCoupling(4, dense)]
    return Flow(Compose(layers), DiagonalGaussian(SMALL))


FLOWS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "sylvester": (lambda: ConvSylvesterFlow(IMAGE, **RESIDUAL), IMAGE),
    "coupling": (lambda: CouplingFlow(IMAGE, **RESIDUAL), IMAGE),
    "residual": (lambda: ResidualFlow(IMAGE, **RESIDUAL), IMAGE),
    **{
        f"mixing_{mixing}": (lambda mixing=mixing: GlowFlow(IMAGE, mixing=mixing, **MIXING), IMAGE)
        for mixing in ("conv1x1", "emerging", "woodbury", "conv_exponential")
    },
    "single_scale": (single_scale, SMALL),
    "graph_coupling": (lambda: GraphCouplingFlow(GRAPH, num_steps=1, width=8), GRAPH),
    "gnf": (lambda: GraphNormalizingFlow(GRAPH, **NODES), GRAPH),
    "gnf_mixture": (lambda: GraphNormalizingFlow(GRAPH, node_map="mixture", components=2, **NODES), GRAPH),
    "set": (lambda: SetAutoregressiveFlow(GRAPH, components=2, **NODES), GRAPH),
}
TABLE = pytest.mark.parametrize("name", FLOWS)
IMAGES = pytest.mark.parametrize("name", [name for name, (_, shape) in FLOWS.items() if shape == IMAGE])


def build(name: str, dtype: torch.dtype = torch.float64) -> tuple[Any, Tensor]:
    make, shape = FLOWS[name]
    scale = 256 if shape == IMAGE else 1
    x = scale * torch.rand(4, *shape, dtype=dtype)
    return perturb(make().to(dtype), x, noise=0.05), x


@TABLE
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_an_empty_batch_gives_empty_results(name: str, training: bool) -> None:
    flow, x = build(name)
    flow.train(training)
    none = x[:0].requires_grad_()
    log_prob = flow.log_prob(none)
    assert (log_prob.shape, log_prob.dtype) == ((0,), x.dtype)
    log_prob.sum().backward()
    assert none.grad is not None
    latents = flow.encode(x[:0])
    shapes = [latent.shape for latent in flow.encode(x)] if isinstance(latents, tuple) else None
    assert shapes is None or [(0, *shape[1:]) for shape in shapes] == [tuple(latent.shape) for latent in latents]
    assert flow.decode(latents).shape == x[:0].shape
    assert flow.sample(0).shape == x[:0].shape
    sample, log_prob = flow.sample_and_log_prob(0)
    assert (sample.shape, log_prob.shape) == (x[:0].shape, (0,))


@TABLE
def test_a_first_batch_without_items_sets_nothing(name: str) -> None:
    flow, x = FLOWS[name][0]().double().train(), build(name)[1]
    flow.log_prob(x[:0])
    assert all(parameter.isfinite().all() for parameter in flow.parameters())
    flow.log_prob(x)
    layers = [m for m in flow.modules() if hasattr(m, "initialized")]
    assert all(layer.initialized for layer in layers)
    assert all(layer.log_scale.detach().abs().max() > 1e-3 for layer in layers)


@TABLE
def test_another_dtype_than_the_flows_is_refused(name: str) -> None:
    for own, other in ((torch.float32, torch.float64), (torch.float64, torch.float32), (torch.float32, torch.half)):
        flow, x = build(name, own)
        with pytest.raises(InputTypeError, match=f"expected {own}, the dtype of the flow; got {other}"):
            flow.log_prob(x.to(other))
    with pytest.raises(InputTypeError, match=r"expected a floating tensor; got torch\.uint8"):
        flow.log_prob(x.to(torch.uint8))


@TABLE
@pytest.mark.parametrize("dtype", [torch.half, torch.bfloat16])
def test_a_flow_of_half_precision_is_refused(name: str, dtype: torch.dtype) -> None:
    flow, x = build(name, torch.float32)
    with pytest.raises(InputTypeError, match=f"expected a flow in float32 or float64; got {dtype}"):
        flow.to(dtype).log_prob(x.to(dtype))
    with pytest.raises(InputTypeError, match=f"expected a flow in float32 or float64; got {dtype}"):
        flow.sample(2)


@IMAGES
@torch.no_grad()
def test_encode_and_decode_take_data_of_more_precision(name: str) -> None:
    flow, x = build(name, torch.float32)
    latents = flow.encode(x.double())
    assert {latent.dtype for latent in latents} == {torch.float64}
    torch.testing.assert_close(flow.decode(latents), x.double(), rtol=0, atol=1e-6)


@TABLE
@torch.no_grad()
def test_autocast_changes_little(name: str) -> None:
    flow, x = build(name, torch.float32)
    expected = flow.log_prob(x)
    with torch.autocast("cpu", torch.bfloat16):
        found = flow.log_prob(x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.03, atol=0.3)


@IMAGES
@pytest.mark.parametrize("shape", [(4, 10), (4, 10, 4, 4), (4, 10, 8, 8)])
def test_a_context_that_no_net_takes_is_refused(name: str, shape: tuple[int, ...]) -> None:
    flow, x = build(name)
    context = torch.zeros(shape, dtype=x.dtype)
    for call in (lambda: flow.log_prob(x, context), lambda: flow.encode(x, context), lambda: flow.sample(4, context)):
        with pytest.raises(ShapeError, match=r"expected no context.*; got"):
            call()


def test_a_context_is_not_ignored_where_no_layer_would_look_at_it() -> None:
    flow = ConvSylvesterFlow(IMAGE, **RESIDUAL | {"num_levels": 1})
    with pytest.raises(ShapeError, match=r"expected no context, as no layer of this flow takes one; got \(4, 10\)"):
        flow.log_prob(torch.zeros(4, *IMAGE), torch.zeros(4, 10))


def test_contexts_of_another_shape_are_refused_and_fitting_ones_count() -> None:
    flow, x = perturb(single_scale(3), torch.randn(4, *SMALL), torch.randn(4, 3, 4, 4)), torch.randn(4, *SMALL)
    context = torch.randn(4, 3, 4, 4)
    assert (flow.log_prob(x, context) - flow.log_prob(x, 2 * context)).abs().min() > 1e-4
    assert flow.sample(4, context).shape == x.shape
    for wrong in (context[:3], context[:, :2], context[:, :, :3], context[:, :, 0, 0], context[:1]):
        with pytest.raises(ShapeError, match=r"expected a context of shape \(4, 3, 4, 4\); got shape"):
            flow.log_prob(x, wrong)
    with pytest.raises(ShapeError, match=r"expected a context of shape \(4, 3, 4, 4\); got none"):
        flow.log_prob(x)
    with pytest.raises(ShapeError, match=r"expected a context of shape \(5, 3, 4, 4\)"):
        flow.sample(5, context)


def test_squeezing_nothing_has_the_shape_of_squeezing() -> None:
    z, log_det = Squeeze()(torch.zeros(0, 3, 8, 4))
    assert (z.shape, log_det.shape) == ((0, 12, 4, 2), (0,))
    assert Squeeze().inverse(z)[0].shape == (0, 3, 8, 4)
