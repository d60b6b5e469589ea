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


def test_neighbours_see_themselves_and_padding_sees_itself_alone():
    assert Graph().neighbours() is None
    mask = torch.tensor([[True, True, False, True]])
    expected = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=torch.bool)
    assert torch.equal(Graph(STAR, mask).neighbours(), expected[None])
    assert torch.equal(Graph(None, mask).node_weights(torch.zeros(1, 4, 2)), torch.tensor([[1.0, 1, 0, 1]]))


@pytest.mark.parametrize(
    ("adjacency", "message"),
    [
        (torch.zeros(2, 3), "expected a square adjacency matrix"),
        (torch.zeros(4), "expected a square adjacency matrix"),
        (torch.eye(2), "expected no node to be its own neighbour"),
        (torch.tensor([[0.0, 1.0], [0.0, 0.0]]), "expected a symmetric adjacency matrix"),
        (torch.tensor([[0.0, 2.0], [2.0, 0.0]]), "zeros and ones"),
        (torch.tensor([[0.0, torch.nan], [torch.nan, 0.0]]), "zeros and ones"),
    ],
)
def test_mistakes(adjacency, message):
    with pytest.raises(ShapeError, match=message):
        check_adjacency(adjacency)
    check_adjacency(STAR)
