"""The table of transforms of node features that the contract tests of graphs run over."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_flows.functional.graphs import Graph
from lightning_flows.functional.value_maps import num_map_parameters
from lightning_flows.nets import AttentionSizes, GraphAttentionNet
from lightning_flows.transforms import (
    Compose,
    GraphActNorm,
    GraphCoupling,
    GraphExponential,
    InterleavedExponentials,
    SetAutoregressiveCoupling,
    Transform,
)

SIZES = AttentionSizes(8, 1, 2)


class GraphCase(NamedTuple):
    """How to build a transform of nodes with ``features`` features."""

    build: Callable[[], Transform]
    features: int = 2


def _coupling(features: int, moved: int, node_map: Any) -> GraphCoupling:
    net = GraphAttentionNet(features - 1, num_map_parameters(node_map, 3), SIZES)
    return GraphCoupling(features, moved, net, node_map=node_map, components=3)


CASES = {
    "actnorm": GraphCase(lambda: GraphActNorm(2)),
    "exponential": GraphCase(lambda: GraphExponential(2, max_neighbors=4)),
    "exponential_series": GraphCase(lambda: GraphExponential(2, max_neighbors=4, closed_form=False)),
    "exponential_3_features": GraphCase(lambda: GraphExponential(3, max_neighbors=2), 3),
    "interleaved": GraphCase(
        lambda: InterleavedExponentials(2, [_coupling(2, 0, "affine"), _coupling(2, 1, "mixture")], max_neighbors=4)
    ),
    "coupling_affine": GraphCase(lambda: _coupling(2, 0, "affine")),
    "coupling_mixture": GraphCase(lambda: _coupling(2, 1, "mixture")),
    "coupling_spline": GraphCase(lambda: _coupling(2, 1, "spline")),
    "coupling_3_features": GraphCase(lambda: _coupling(3, 1, "affine"), 3),
    "set_autoregressive": GraphCase(lambda: SetAutoregressiveCoupling(2, 1, components=3, sizes=SIZES)),
    "set_autoregressive_first": GraphCase(lambda: SetAutoregressiveCoupling(2, 0, components=2, sizes=SIZES)),
    "set_autoregressive_affine": GraphCase(lambda: SetAutoregressiveCoupling(3, 1, node_map="affine", sizes=SIZES), 3),
    "compose": GraphCase(
        lambda: Compose(
            [
                GraphActNorm(2),
                GraphExponential(2, max_neighbors=4),
                _coupling(2, 0, "affine"),
                SetAutoregressiveCoupling(2, 1, components=3, sizes=SIZES),
            ]
        )
    ),
}

NODES = 5
PATH = torch.diag(torch.ones(NODES - 1), 1) + torch.diag(torch.ones(NODES - 1), -1)
MASK = torch.tensor([[True] * 5, [True, False, True, True, False], [False, False, False, True, False]])
WEIGHTS = torch.tensor(
    [[0.9, -1.2, 0, 0.3, 0], [0.4, 0, 2, 0, 0], [0, -3, -0.5, 0, 0.1], [0, 0, 0, 0, 0], [1, 0, 0, -2, 5]]
)
GRAPHS: dict[str, Graph | None] = {
    "complete": None,
    "path": Graph(PATH),
    "padding": Graph(None, MASK),
    "path_with_padding": Graph(PATH.expand(3, -1, -1), MASK),
    "isolated": Graph(torch.zeros(NODES, NODES)),
    "loops": Graph(PATH + torch.diag(torch.tensor([1.0, 0, 1, 1, 0]))),
    "loops_of_integers": Graph((PATH + torch.eye(NODES)).long()),
    "loops_of_bools_with_padding": Graph((PATH + torch.eye(NODES)).bool(), MASK),
    "directed": Graph(torch.ones(NODES, NODES).triu(1) + torch.eye(NODES).roll(1, 0)),
    "star_with_direction": Graph(torch.ones(NODES, 1) * torch.eye(NODES)[0]),
    "weighted": Graph(WEIGHTS.abs() * 0.1),
    "signed": Graph(WEIGHTS),
    "signed_with_padding": Graph(torch.stack([WEIGHTS, WEIGHTS.T, 7 * WEIGHTS]), MASK),
    "one_batch_of_edges": Graph(WEIGHTS[None]),
    "one_without_nodes": Graph(PATH, MASK & torch.tensor([[True], [False], [True]])),
    "anything_at_padding": Graph(torch.where(MASK[:, None] & MASK[:, :, None], PATH, torch.nan), MASK),
}


def build(case: GraphCase, *, seed: int = 2, dtype: torch.dtype = torch.float64) -> Transform:
    """Build the case in eval mode with perturbed parameters."""
    torch.manual_seed(seed)
    transform = case.build().to(dtype)
    transform.train()(draw(case, seed=seed, dtype=dtype))  # data-dependent initialization
    with torch.no_grad():
        for parameter in transform.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # larger noise would leave gaps between components
    return transform.eval()


def draw(case: GraphCase, *, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    """Three graphs of five nodes."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, NODES, case.features, generator=generator, dtype=torch.float64).to(dtype)


def permuted(graph: Graph | None, order: Tensor) -> Graph | None:
    """The graph with its nodes in another order."""
    if graph is None:
        return None
    adjacency = None if graph.adjacency is None else graph.adjacency[..., order, :][..., order]
    return Graph(adjacency, None if graph.mask is None else graph.mask[:, order])
