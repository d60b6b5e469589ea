"""Flows over graphs, in float64 with perturbed parameters."""

import pytest
import torch
from torch import Tensor

from lightning_flows.errors import InputTypeError, ShapeError
from lightning_flows.flows import GraphFlow, GraphNormalizingFlow, SetAutoregressiveFlow
from lightning_flows.functional.graphs import Graph
from lightning_flows.transforms import GraphCoupling, SetAutoregressiveCoupling
from tests.flows.cases import FAMILIES, GRAPH, NODES, family

FLOWS = [name for name, case in FAMILIES.items() if case.event_shape == GRAPH]
EQUIVARIANT = [name for name in FLOWS if name != "graph_coupling"]
MASK = torch.tensor([[True, True, True], [True, False, True]])
PATH = torch.tensor([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]])


def build(name: str) -> GraphFlow:
    flow, _ = family(name, batch=32)
    return flow


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", FLOWS)
@torch.no_grad()
def test_the_density_of_a_lone_node_integrates_to_one(name):
    axis = torch.linspace(-10, 10, 161, dtype=torch.float64)
    arguments = FAMILIES[name].build().init_args | {"event_shape": (1, 2)}
    torch.manual_seed(2)
    flow = type(FAMILIES[name].build())(**arguments).double()
    flow.log_prob(torch.randn(32, 1, 2, dtype=torch.float64))
    for parameter in flow.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    density = flow.eval().log_prob(torch.cartesian_prod(axis, axis)[:, None]).exp()
    assert density.sum().item() * (20 / 160) ** 2 == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", EQUIVARIANT)
@torch.no_grad()
def test_padding_is_ignored_and_samples_come_with_their_log_prob(name):
    flow, graph = build(name), Graph(PATH, MASK)
    x, log_prob = flow.sample_and_log_prob(2, graph, generator=generator())
    torch.testing.assert_close(log_prob, flow.log_prob(x, graph), rtol=0, atol=1e-9)
    noise = torch.randn(2, 3, 2, dtype=torch.float64, generator=generator())
    noise[1, 1] = 0
    assert not x[1, 1].any()
    padding = torch.where(MASK[..., None], x, torch.nan)
    torch.testing.assert_close(flow.log_prob(padding, graph), log_prob, rtol=0, atol=1e-9)
    assert torch.equal(flow.encode(padding, graph)[0], flow.encode(x, graph)[0])
    torch.testing.assert_close(flow.encode(x, graph)[0], noise, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("mask", "error"), [(torch.ones(2, 4, dtype=torch.bool), ShapeError), (torch.ones(2, 3), InputTypeError)]
)
def test_a_wrong_mask_is_refused(mask, error):
    with pytest.raises(error, match=r"expected a (bool )?mask"):
        build("gnf").log_prob(torch.randn(2, 3, 2, dtype=torch.float64), Graph(mask=mask))


@pytest.mark.parametrize("name", EQUIVARIANT)
@torch.no_grad()
def test_padding_does_not_contribute_to_the_density(name):
    """Padding does not even contribute a factor of 2π."""
    flow, x = build(name), torch.randn(2, 3, 2, dtype=torch.float64)
    found = flow.log_prob(x, Graph(mask=MASK))
    alone = torch.cat([flow.log_prob(x[i : i + 1, mask]) for i, mask in enumerate(MASK)])
    torch.testing.assert_close(found, alone, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@torch.no_grad()
def test_edges_that_are_not_finite_give_nan(name, value):
    """Only for their own graph; others are unchanged."""
    flow, x = build(name), torch.randn(2, 3, 2, dtype=torch.float64)
    adjacency = PATH.repeat(2, 1, 1)
    expected = flow.log_prob(x, Graph(adjacency.clone()))
    adjacency[1, 0, 2] = value
    found = flow.log_prob(x, Graph(adjacency))
    assert found[0] == expected[0]
    assert found[1].isnan()
    assert flow.encode(x, Graph(adjacency))[0][1].isnan().all()
    assert flow.decode(x, Graph(adjacency))[1].isnan().any()
    sample, log_prob = flow.sample_and_log_prob(2, Graph(adjacency))
    assert sample[1].isnan().any()
    assert log_prob.isnan().tolist() == [False, True]


@pytest.mark.parametrize("name", EQUIVARIANT)
def test_graphs_for_another_number_of_samples_are_refused(name):
    flow = build(name)
    with pytest.raises(ShapeError, match="expected a mask of shape"):
        flow.sample(3, Graph(mask=MASK))
    with pytest.raises(ShapeError, match="expected one adjacency matrix, or one for each of 3"):
        flow.sample_and_log_prob(3, Graph(torch.zeros(2, 3, 3)))


@pytest.mark.parametrize("name", EQUIVARIANT)
@torch.no_grad()
def test_graphs_of_another_size_and_order(name):
    flow, x = build(name), torch.randn(2, 5, 2, dtype=torch.float64)
    torch.testing.assert_close(flow.log_prob(x[:, [3, 0, 4, 2, 1]]), flow.log_prob(x), rtol=0, atol=1e-10)
    torch.testing.assert_close(flow.decode(flow.encode(x)), x, rtol=0, atol=1e-9)


def moved(flow: GraphFlow) -> list[int]:
    layers = [layer for layer in flow.modules() if isinstance(layer, GraphCoupling | SetAutoregressiveCoupling)]
    return [layer.transformed_dim for layer in layers]


@pytest.mark.parametrize("exponential", [False, True])
def test_each_feature_is_transformed_once_per_step(exponential):
    sizes = NODES | {"num_steps": 2}
    assert moved(GraphNormalizingFlow((4, 3), exponential=exponential, **sizes)) == [0, 1, 2] * 2
    assert moved(SetAutoregressiveFlow((4, 3), **sizes)) == [2, 1, 0] * 2


@pytest.mark.parametrize(("nodes", "given", "expected"), [(5, None, 4), (1, None, 1), (5, 2, 2)])
def test_exponentials_are_bounded_for_complete_graphs_by_default(nodes, given, expected):
    flow = GraphNormalizingFlow((nodes, 2), max_neighbors=given, **NODES | {"num_steps": 2})
    exponentials = flow.levels[0].transforms[1].exponentials
    assert [layer.max_neighbors for layer in exponentials] == [expected] * 4


def test_the_coupling_flow_depends_on_the_order():
    flow, x = build("graph_coupling"), torch.randn(2, 3, 2, dtype=torch.float64)
    differences: Tensor = flow.log_prob(x[:, [1, 2, 0]]) - flow.log_prob(x)
    assert differences.abs().min() > 1e-3


def test_images_are_refused():
    with pytest.raises(ShapeError, match=r"expected graphs of shape \(N, F\); got \(3, 8, 8\)"):
        GraphNormalizingFlow((3, 8, 8))
