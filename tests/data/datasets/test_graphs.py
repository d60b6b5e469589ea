"""Graphs: random sizes and edges, and batches that depend only on seed and number."""

import math

import pytest
import torch
from torch import Tensor

from lightning_flows.data.datasets.fresh import FreshBatches
from lightning_flows.data.datasets.graphs import GraphSource
from lightning_flows.errors import ShapeError, UsageError
from lightning_flows.functional.streams import stream

PATH = [[0, 1, 0], [1, 0, 1], [0, 1, 0]]


class Normals:
    """Three nodes on a line, none of them zero."""

    def sample(self, num: int, *, generator: torch.Generator) -> Tensor:
        return 10 + torch.randn(num, 3, 1, generator=generator)


def fresh(**kwargs) -> FreshBatches:
    return FreshBatches(GraphSource(Normals(), 3, **kwargs), "training graphs", batch_size=4, num_batches=6, seed=1)


def test_batches_depend_only_on_seed_and_number():
    dataset = fresh()
    assert len(dataset) == 6
    batch = dataset[10**6]  # far beyond an epoch
    assert set(batch) == {"nodes", "index"}
    assert batch["nodes"].shape == (4, 3, 1)
    assert batch["index"].tolist() == list(range(4 * 10**6, 4 * 10**6 + 4))
    expected = Normals().sample(4, generator=stream(1, "training graphs", 10**6))
    assert torch.equal(batch["nodes"], expected)
    assert not torch.equal(batch["nodes"], dataset[10**6 + 1]["nodes"])
    other = FreshBatches(GraphSource(Normals(), 3), "training graphs", batch_size=4, num_batches=6, seed=2)
    assert not torch.equal(batch["nodes"], other[10**6]["nodes"])


def test_sizes_are_uniform_and_padding_is_zero():
    batch = GraphSource(Normals(), 3, sizes=[1, 3]).draw(2000, stream(0, "a"))
    mask = batch["mask"]
    assert mask.dtype == torch.bool
    sizes, counts = mask.sum(1).unique(return_counts=True)
    assert sizes.tolist() == [1, 3]
    assert (counts - 1000).abs().max() < 100
    assert (mask.int().diff(dim=1) <= 0).all()  # padding comes last
    assert torch.equal(batch["nodes"] != 0, mask.unsqueeze(2))


def test_edges_of_padding_are_zero():
    adjacency = torch.tensor(PATH).float()
    source = GraphSource(Normals(), 3, sizes=[2, 3], adjacency=PATH)
    batch = source.draw(50, stream(0, "a"))
    for mask, found in zip(batch["mask"], batch["adjacency"], strict=True):
        size = int(mask.sum())
        expected = torch.zeros(3, 3)
        expected[:size, :size] = adjacency[:size, :size]
        assert torch.equal(found, expected)
    assert torch.equal(source.adjacency, adjacency)  # unchanged
    whole = GraphSource(Normals(), 3, adjacency=PATH).draw(2, stream(0, "a"))
    assert set(whole) == {"nodes", "adjacency"}
    assert torch.equal(whole["adjacency"], adjacency.expand(2, 3, 3))


def test_an_isolated_node_is_allowed():
    source = GraphSource(Normals(), 3, adjacency=[[0, 1, 0], [1, 0, 0], [0, 0, 0]])
    assert source.adjacency[2].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("adjacency", "error", "message"),
    [
        ([], ShapeError, "expected an adjacency of 3 rows of 3, one per mean; got 0 rows"),
        ([[0, 1], [1, 0]], ShapeError, "got 2 rows of length 2"),
        ([[0, 1, 0], [1, 0, 1]], ShapeError, "got 2 rows of length 3"),
        ([[0, 1, 0], [1, 0], [0, 1, 0]], ShapeError, "got 3 rows of length 2 or 3"),
        ([[0, 1, 0], [1, 0, 2], [0, 2, 0]], ShapeError, "zeros and ones"),
        ([[0, 1, 0], [1, 0, -1], [0, -1, 0]], ShapeError, "zeros and ones"),
        ([[0, 1, 0], [1, 0, math.nan], [0, math.nan, 0]], ShapeError, "zeros and ones"),
        ([[0, 1, 0], [1, 0, 1], [0, 0, 0]], ShapeError, "symmetric"),
        ([[0, 1, 0], [1, 1, 0], [0, 0, 1]], ShapeError, "no node to be its own neighbor"),
    ],
)
def test_wrong_adjacency(adjacency, error, message):
    with pytest.raises(error, match=message):
        GraphSource(Normals(), 3, adjacency=adjacency)


@pytest.mark.parametrize("sizes", [[], [0], [4], [1, 2, -1]])
def test_wrong_sizes(sizes):
    with pytest.raises(UsageError, match=r"expected sizes from 1 to 3, the number of means; got \["):
        GraphSource(Normals(), 3, sizes=sizes)
