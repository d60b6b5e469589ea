import pytest
import torch

from lightning_flows.errors import ShapeError
from lightning_flows.functional.graphs import Graph, check_adjacency, normalized_adjacency

STAR = torch.tensor([[0.0, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])


def test_normalized_adjacency_has_norm_one_and_zero_rows_for_isolated_nodes():
    normalized = normalized_adjacency(STAR)
    assert normalized[0, 1].item() == pytest.approx(2**-0.5)
    assert torch.linalg.matrix_norm(normalized, ord=2).item() == pytest.approx(1.0)
    assert not normalized[3].any()
    torch.testing.assert_close(normalized_adjacency(STAR.expand(2, -1, -1))[1], normalized)


@pytest.mark.parametrize("seed", range(5))
def test_the_norm_of_any_real_adjacency_becomes_at_most_one(seed):
    generator = torch.Generator().manual_seed(seed)
    adjacency = torch.randn(20, 4, 4, generator=generator, dtype=torch.float64) * 10.0 ** torch.randint(-9, 9, (4,))
    adjacency *= torch.rand(20, 4, 4, generator=generator) < 0.5
    norms = torch.linalg.matrix_norm(normalized_adjacency(adjacency), ord=2)
    assert norms.max() <= 1 + 1e-12
    assert norms.max() > 0.9
    star = torch.ones(4, 1) * torch.eye(4)[0]  # all edges lead to one node: each weighs 1/√4
    torch.testing.assert_close(normalized_adjacency(star), star / 2)


@pytest.mark.parametrize("weight", [0.3, 1.0, 7.0])
def test_undirected_weights_are_divided_by_the_roots_of_the_degrees(weight):
    degree = (weight * STAR).sum(1)
    expected = weight * STAR / (degree[:, None] * degree).sqrt()
    torch.testing.assert_close(normalized_adjacency(weight * STAR), expected.nan_to_num())


def test_edges_at_padding_are_ignored():
    mask = torch.tensor([[True, False, True, True]])
    graph = Graph(torch.where(mask[:, :, None] & mask[:, None], STAR, torch.nan), mask)
    assert graph.edges(torch.float64).tolist() == [[[0, 0, 1, 0], [0] * 4, [1, 0, 0, 0], [0] * 4]]
    assert graph.edges(torch.float64).dtype == torch.float64
    assert Graph().edges(torch.float64) is None


def test_nodes_attend_to_neighbors_and_themselves_and_padding_only_to_itself():
    assert Graph().attention_mask() is None
    mask = torch.tensor([[True, True, False, True]])
    expected = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=torch.bool)
    assert torch.equal(Graph(STAR, mask).attention_mask(), expected[None])
    assert torch.equal(Graph(None, mask).node_weights(torch.zeros(1, 4, 2)), torch.tensor([[1.0, 1, 0, 1]]))


@pytest.mark.parametrize(
    ("adjacency", "message"),
    [
        (torch.zeros(2, 3), "expected a square adjacency matrix"),
        (torch.zeros(4), "expected a square adjacency matrix"),
        (torch.eye(2), "expected no node to be its own neighbor"),
        (torch.tensor([[0.0, 1.0], [0.0, 0.0]]), "expected a symmetric adjacency matrix"),
        (torch.tensor([[0.0, 2.0], [2.0, 0.0]]), "zeros and ones"),
        (torch.tensor([[0.0, torch.nan], [torch.nan, 0.0]]), "zeros and ones"),
    ],
)
def test_invalid_arguments(adjacency, message):
    with pytest.raises(ShapeError, match=message):
        check_adjacency(adjacency)
    check_adjacency(STAR)
