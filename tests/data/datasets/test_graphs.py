"""Graphs: random sizes and edges, batches that follow from seed and number, samplers that never repeat."""

import math

import pytest
import torch
from torch import Tensor

from lightning_flows.data.datasets.graphs import (
    FreshGraphs,
    FreshSampler,
    GraphDataset,
    GraphSource,
    adjacency_matrix,
    check_sizes,
    evaluation_stream,
    training_stream,
)
from lightning_flows.errors import DataError, ShapeError

PATH = [[0, 1, 0], [1, 0, 1], [0, 1, 0]]


class Normals:
    """Three nodes on a line, none of them zero."""

    def sample(self, num: int, *, generator: torch.Generator) -> Tensor:
        return 10 + torch.randn(num, 3, 1, generator=generator)


def fresh(**kwargs) -> FreshGraphs:
    return FreshGraphs(GraphSource(Normals(), 3, **kwargs), batch_size=4, num_batches=6, seed=1)


def test_batches_follow_from_seed_and_number():
    dataset = fresh()
    assert len(dataset) == 6
    batch = dataset[10**6]  # far beyond an epoch
    assert set(batch) == {"nodes", "index"}
    assert batch["nodes"].shape == (4, 3, 1)
    assert batch["index"].tolist() == list(range(4 * 10**6, 4 * 10**6 + 4))
    assert torch.equal(batch["nodes"], fresh()[10**6]["nodes"])
    assert not torch.equal(batch["nodes"], dataset[10**6 + 1]["nodes"])
    other = FreshGraphs(GraphSource(Normals(), 3), batch_size=4, num_batches=6, seed=2)
    assert not torch.equal(batch["nodes"], other[10**6]["nodes"])


def test_no_two_streams_are_alike():
    streams = [training_stream(seed, k) for seed in (0, 1) for k in range(2000)]
    streams += [evaluation_stream(seed, part) for seed in (0, 1) for part in ("val", "test")]
    begun = {float(torch.rand(1, dtype=torch.float64, generator=each)) for each in streams}
    assert len(begun) == len(streams)
    first = torch.stack([torch.rand(4, generator=training_stream(0, k)) for k in range(2000)])
    assert (first.mean(0) - 0.5).abs().max() < 4 / math.sqrt(12 * 2000)
    correlation = torch.corrcoef(torch.stack([first[:-1, 0], first[1:, 0]]))[0, 1]
    assert abs(correlation) < 4 / math.sqrt(2000)


def test_sizes_are_uniform_and_padding_is_zero():
    batch = GraphSource(Normals(), 3, sizes=torch.tensor([1, 3])).draw(2000, training_stream(0, 0))
    mask = batch["mask"]
    assert mask.dtype == torch.bool
    sizes, counts = mask.sum(1).unique(return_counts=True)
    assert sizes.tolist() == [1, 3]
    assert (counts - 1000).abs().max() < 100
    assert (mask.int().diff(dim=1) <= 0).all()  # padding lies last
    assert torch.equal(batch["nodes"] != 0, mask.unsqueeze(2))


def test_edges_of_padding_are_zero():
    adjacency = adjacency_matrix(PATH, 3)
    source = GraphSource(Normals(), 3, sizes=torch.tensor([2, 3]), adjacency=adjacency)
    batch = source.draw(50, training_stream(0, 0))
    for mask, found in zip(batch["mask"], batch["adjacency"], strict=True):
        size = int(mask.sum())
        expected = torch.zeros(3, 3)
        expected[:size, :size] = adjacency[:size, :size]
        assert torch.equal(found, expected)
    assert torch.equal(adjacency, torch.tensor(PATH).float())  # unchanged
    whole = GraphSource(Normals(), 3, adjacency=adjacency).draw(2, training_stream(0, 0))
    assert set(whole) == {"nodes", "adjacency"}
    assert torch.equal(whole["adjacency"], adjacency.expand(2, 3, 3))


@pytest.mark.parametrize("num_ranks", [1, 3])
def test_no_batch_comes_twice(num_ranks):
    seen = []
    for epoch in range(4):
        of_epoch = []
        for rank in range(num_ranks):
            sampler = FreshSampler(fresh(), steps_per_epoch=5, num_ranks=num_ranks, rank=rank)
            assert len(sampler) == 5
            sampler.set_epoch(epoch)
            of_epoch.append(list(sampler))
            assert of_epoch[-1] == [epoch * 5 * num_ranks + i * num_ranks + rank for i in range(5)]
        seen += [index for step in zip(*of_epoch, strict=True) for index in step]
    assert seen == list(range(4 * 5 * num_ranks))  # side by side, and nothing left out


def test_the_sampler_reads_epoch_and_step_at_the_first_batch():
    """Lightning makes the iterator of a resumed run before it tells the epoch."""
    step = [0]
    sampler = FreshSampler(fresh(), steps_per_epoch=5, num_ranks=2, rank=1, first_step=lambda: step[0])
    batches = iter(sampler)
    sampler.set_epoch(3)
    step[0] = 4
    assert list(batches) == [2 * (3 * 5 + 4) + 1]


def test_graphs_in_memory():
    dataset = GraphDataset({"nodes": torch.arange(6.0).view(3, 2), "true_log_prob": torch.ones(3).double()})
    assert len(dataset) == 3
    item = dataset[1]
    assert (item["nodes"].tolist(), item["index"].item()) == ([2.0, 3.0], 1)
    assert item["index"].dtype == torch.int64
    assert item["true_log_prob"].dtype == torch.float64
    with pytest.raises(ShapeError, match=r"expected tensors of one length; got \{'a': 3, 'b': 2\}"):
        GraphDataset({"a": torch.zeros(3), "b": torch.zeros(2)})


def test_an_isolated_node_is_allowed():
    assert adjacency_matrix([[0, 1, 0], [1, 0, 0], [0, 0, 0]], 3)[2].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("adjacency", "error", "message"),
    [
        ([], ShapeError, "expected an adjacency of 3 rows of 3, one for each mean; got 0 rows"),
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
        adjacency_matrix(adjacency, 3)


@pytest.mark.parametrize("sizes", [[], [0], [4], [1, 2, -1]])
def test_wrong_sizes(sizes):
    with pytest.raises(DataError, match=r"expected sizes from 1 to 3, as there are as many means; got \["):
        check_sizes(sizes, 3)
