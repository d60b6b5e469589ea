"""Flows over graphs, in float64 with parameters away from their start."""

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from lightning_flows.errors import InputTypeError, ShapeError
from lightning_flows.flows import GraphCouplingFlow, GraphFlow, GraphNormalizingFlow, SetAutoregressiveFlow
from lightning_flows.functional.graphs import Graph
from lightning_flows.transforms import GraphCoupling, SetAutoregressiveCoupling
from tests.dense import slogdets

SIZES = {"width": 8, "num_blocks": 1, "num_heads": 2}
FLOWS = {
    "coupling": lambda shape: GraphCouplingFlow(shape, num_steps=2, width=8, depth=1),
    "gnf": lambda shape: GraphNormalizingFlow(shape, exponential=False, num_steps=1, **SIZES),
    "exponential": lambda shape: GraphNormalizingFlow(shape, num_steps=1, node_map="mixture", components=2, **SIZES),
    "set": lambda shape: SetAutoregressiveFlow(shape, components=2, **SIZES),
}
EQUIVARIANT = ["gnf", "exponential", "set"]
MASK = torch.tensor([[True, True, True], [True, False, True]])
PATH = torch.tensor([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]])


def build(name: str, shape: tuple[int, int] = (3, 2)) -> GraphFlow:
    torch.manual_seed(2)
    flow = FLOWS[name](shape).double().train()
    flow.log_prob(torch.randn(32, *shape, dtype=torch.float64))  # data-dependent starts
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return flow.eval()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", FLOWS)
def test_log_prob_is_that_of_the_jacobian(name):
    flow, x = build(name), torch.randn(4, 3, 2, dtype=torch.float64)
    expected = Normal(0, 1).log_prob(flow.encode(x)).sum((1, 2)) + slogdets(flow.encode, x)
    torch.testing.assert_close(flow.log_prob(x), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", FLOWS)
@torch.no_grad()
def test_the_density_of_a_lone_node_integrates_to_one(name):
    axis = torch.linspace(-10, 10, 161, dtype=torch.float64)
    density = build(name, (1, 2)).log_prob(torch.cartesian_prod(axis, axis)[:, None]).exp()
    assert density.sum().item() * (20 / 160) ** 2 == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "graph"),
    [*((name, None) for name in FLOWS), *((name, Graph(PATH, MASK)) for name in EQUIVARIANT)],
    ids=[*FLOWS, *(f"{name}_padded_path" for name in EQUIVARIANT)],
)
@torch.no_grad()
def test_samples_come_with_their_log_prob_and_go_back_to_their_noise(name, graph):
    flow = build(name)
    x, log_prob = flow.sample_and_log_prob(2, graph, generator=generator())
    assert torch.equal(x, flow.sample(2, graph, generator=generator()))
    torch.testing.assert_close(log_prob, flow.log_prob(x, graph), rtol=0, atol=1e-9)
    noise = torch.randn(2, 3, 2, dtype=torch.float64, generator=generator())
    if graph is not None:
        noise[1, 1] = 0
        assert not x[1, 1].any()
        padding = torch.where(MASK[..., None], x, torch.nan)
        torch.testing.assert_close(flow.log_prob(padding, graph), log_prob, rtol=0, atol=1e-9)
        assert torch.equal(flow.encode(padding, graph), flow.encode(x, graph))
    torch.testing.assert_close(flow.encode(x, graph), noise, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("mask", "error"), [(torch.ones(2, 4, dtype=torch.bool), ShapeError), (torch.ones(2, 3), InputTypeError)]
)
def test_a_wrong_mask_is_refused(mask, error):
    with pytest.raises(error, match="expected a mask of"):
        build("gnf").log_prob(torch.randn(2, 3, 2, dtype=torch.float64), Graph(mask=mask))


@pytest.mark.parametrize("name", EQUIVARIANT)
@torch.no_grad()
def test_padding_counts_for_nothing_in_the_density(name):
    """Not even as a factor of 2π."""
    flow, x = build(name), torch.randn(2, 3, 2, dtype=torch.float64)
    found = flow.log_prob(x, Graph(mask=MASK))
    alone = torch.cat([flow.log_prob(x[i : i + 1, mask]) for i, mask in enumerate(MASK)])
    torch.testing.assert_close(found, alone, rtol=0, atol=1e-9)
    _, log_prob = flow.sample_and_log_prob(2, Graph(mask=MASK), generator=generator())
    x = flow.sample(2, Graph(mask=MASK), generator=generator())
    alone = torch.cat([flow.log_prob(x[i : i + 1, mask]) for i, mask in enumerate(MASK)])
    torch.testing.assert_close(log_prob, alone, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@torch.no_grad()
def test_edges_that_are_not_finite_make_no_number(name, value):
    """Of their own graph; of others they change nothing."""
    flow, x = build(name), torch.randn(2, 3, 2, dtype=torch.float64)
    adjacency = torch.tensor([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]]).repeat(2, 1, 1)
    expected = flow.log_prob(x, Graph(adjacency.clone()))
    adjacency[1, 0, 2] = value
    found = flow.log_prob(x, Graph(adjacency))
    assert found[0] == expected[0]
    assert found[1].isnan()
    assert flow.encode(x, Graph(adjacency))[1].isnan().all()
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


@pytest.mark.parametrize("name", FLOWS)
@torch.no_grad()
def test_temperature_is_a_factor_on_the_noise(name):
    flow = build(name)
    cold, warm = (flow.encode(flow.sample(5, temperature=t, generator=generator())) for t in (0.5, 1.0))
    torch.testing.assert_close(cold, 0.5 * warm, rtol=0, atol=1e-9)
    frozen = flow.sample(5, temperature=0.0, generator=generator(1))
    expected = flow.decode(torch.zeros(5, 3, 2, dtype=torch.float64))
    torch.testing.assert_close(frozen, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", FLOWS)
@torch.no_grad()
def test_a_generator_leaves_the_others_alone(name):
    flow, state = build(name), torch.get_rng_state()
    flow.sample(2, generator=generator())
    flow.sample_and_log_prob(2, generator=generator())
    assert torch.equal(torch.get_rng_state(), state)


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
def test_each_feature_is_moved_once_a_step(exponential):
    assert moved(GraphNormalizingFlow((4, 3), exponential=exponential, num_steps=2, **SIZES)) == [0, 1, 2] * 2
    assert moved(SetAutoregressiveFlow((4, 3), num_steps=2, **SIZES)) == [2, 1, 0] * 2


@pytest.mark.parametrize(("nodes", "given", "expected"), [(5, None, 4), (1, None, 1), (5, 2, 2)])
def test_exponentials_are_bounded_as_those_of_complete_graphs_unless_told(nodes, given, expected):
    flow = GraphNormalizingFlow((nodes, 2), max_neighbors=given, num_steps=2, **SIZES)
    exponentials = flow.transform.transforms[1].exponentials
    assert [layer.max_neighbors for layer in exponentials] == [expected] * 4


def test_the_flow_of_one_vector_tells_orders_apart():
    flow, x = build("coupling"), torch.randn(2, 3, 2, dtype=torch.float64)
    differences: Tensor = flow.log_prob(x[:, [1, 2, 0]]) - flow.log_prob(x)
    assert differences.abs().min() > 1e-3
