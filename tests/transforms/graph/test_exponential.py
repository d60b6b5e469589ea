"""The graph convolution exponential against the exponential of the equivalent matrix."""

import pytest
import torch
from torch import Tensor

from lightning_flows.functional.graphs import Graph
from lightning_flows.transforms import GraphExponential
from tests.dense import norm
from tests.transforms.graph.cases import CASES, GRAPHS, build, draw

COMPLETE = 1 - torch.eye(5, dtype=torch.float64)
PATH = torch.diag(torch.ones(4, dtype=torch.float64), 1) + torch.diag(torch.ones(4, dtype=torch.float64), -1)
STAR = torch.zeros(5, 5, dtype=torch.float64)
STAR[0, 1:4] = STAR[1:4, 0] = 1  # the last node is isolated
EDGES = {"complete": COMPLETE, "path": PATH, "isolated": STAR, "none": 0 * PATH, "one_node": 0 * PATH[:1, :1]}
EDGES |= {
    name: GRAPHS[name].adjacency.double() for name in ("loops", "directed", "star_with_direction", "weighted", "signed")
}


def make(*, closed_form: bool = True, scale: float = 1.0) -> GraphExponential:
    """A layer with two features and at most four neighbors; scaled up, its matrices reach their bounds."""
    layer = GraphExponential(2, max_neighbors=4, closed_form=closed_form).double()
    with torch.no_grad():
        layer.weight.normal_().mul_(scale)
    return layer


def whole_matrix(layer: GraphExponential, adjacency: Tensor) -> Tensor:
    """M of node features as one vector, row-major: ``(NF, NF)``."""
    theta0, theta1 = layer.matrices().detach()
    rows, columns = (torch.where(d > 0, d**-0.5, 0.0) for d in (adjacency.abs().sum(1), adjacency.abs().sum(0)))
    smoothing = rows[:, None] * adjacency * columns
    return torch.kron(torch.eye(len(adjacency), dtype=torch.float64), theta0.T.contiguous()) + torch.kron(
        smoothing, theta1.T.contiguous()
    )


def apply(matrix: Tensor, x: Tensor) -> Tensor:
    return (x.flatten(1) @ matrix.T).reshape(x.shape)


@pytest.mark.parametrize("scale", [0.1, 1000.0])
@pytest.mark.parametrize("adjacency", EDGES.values(), ids=EDGES.keys())
@torch.no_grad()
def test_it_is_the_exponential_of_the_dense_matrix(adjacency, scale):
    layer, x = make(scale=scale), torch.randn(3, len(adjacency), 2, dtype=torch.float64)
    matrix = whole_matrix(layer, adjacency)
    assert norm(matrix) <= 1.25 * (1 + 1e-12)  # as the number of terms has it
    z, log_det = layer(x, Graph(adjacency))
    torch.testing.assert_close(z, apply(torch.linalg.matrix_exp(matrix), x), rtol=0, atol=1e-12)
    torch.testing.assert_close(log_det, matrix.trace().expand(3), rtol=0, atol=1e-12)
    back, _ = layer.inverse(x, Graph(adjacency))
    torch.testing.assert_close(back, apply(torch.linalg.matrix_exp(-matrix), x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("num_nodes", [1, 2, 5])
@torch.no_grad()
def test_closed_form_is_the_series_and_that_of_the_dense_matrix(num_nodes):
    closed, series = make(scale=1000.0), make(closed_form=False)
    series.load_state_dict(closed.state_dict())
    x = torch.randn(3, num_nodes, 2, dtype=torch.float64)
    matrix = whole_matrix(closed, COMPLETE[:num_nodes, :num_nodes])
    for layer in (closed, series):
        expected = apply(torch.linalg.matrix_exp(matrix), x)
        torch.testing.assert_close(layer(x)[0], expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(layer.inverse(expected)[0], x, rtol=0, atol=1e-12)


@torch.no_grad()
def test_degrees_count_neighbors_that_exist():
    """Edges to padding are ignored, whether or not they are in the adjacency."""
    layer, x = make(), torch.randn(1, 5, 2, dtype=torch.float64)
    there = torch.tensor([True, True, False, True, True])
    matrix = whole_matrix(layer, PATH[there][:, there])
    expected = apply(torch.linalg.matrix_exp(matrix), x[:, there])
    torch.testing.assert_close(layer(x, Graph(PATH, there[None]))[0][:, there], expected, rtol=0, atol=1e-12)


@torch.no_grad()
def test_a_node_without_neighbors_is_multiplied_by_exp_theta0():
    layer, x = make(), torch.randn(3, 5, 2, dtype=torch.float64)
    expected = x[:, 4] @ torch.linalg.matrix_exp(layer.matrices()[0])
    torch.testing.assert_close(layer(x, Graph(STAR))[0][:, 4], expected, rtol=0, atol=1e-13)


def test_norms_stay_within_their_bounds():
    layer = GraphExponential(3, max_neighbors=4).double()
    with torch.no_grad():
        layer.weight.mul_(1000)
    theta0, theta1 = layer.matrices()
    for theta, bound in ((theta0, 0.25), (theta1, 1.0)):
        assert bound / 3 ** (1 / 16) <= norm(theta) <= bound * (1 + 1e-12)
    with torch.no_grad():
        layer.weight.copy_(0.2 * torch.eye(3))
    assert torch.equal(layer.matrices(), layer.weight)  # within the bounds nothing is scaled
    with pytest.raises(ValueError, match="expected max_neighbors of at least 1"):
        GraphExponential(2, max_neighbors=0)


def test_under_autocast_it_keeps_full_precision():
    layer, x = build(CASES["exponential"], dtype=torch.float32), draw(CASES["exponential"], dtype=torch.float32)
    expected = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(x)
    assert all(map(torch.equal, found, expected))
