"""Graphs: fresh batches without end to train on, and graphs in memory to evaluate on."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler

from lightning_flows.errors import DataError, ShapeError
from lightning_flows.functional.graphs import Graph, check_adjacency
from lightning_flows.functional.streams import stream


class NodeSource(Protocol):
    """What draws the nodes of graphs: ``(num, M, D)``, in random order."""

    def sample(self, num: int, *, generator: torch.Generator) -> Tensor:
        """Draw ``num`` graphs."""


@dataclass(frozen=True)
class GraphSource:
    """Graphs of at most M nodes: nodes from a source, a random size each, and one set of edges for all.

    A smaller graph keeps the first of M nodes in random order, that is, a random subset of them.

    Args:
        nodes: draws nodes ``(num, M, D)``.
        num_nodes: M.
        sizes: numbers of nodes ``(K,)``, of which each graph takes one at random; None: all have M nodes.
        adjacency: float32 ``(M, M)``, zeros and ones; None: complete graphs.
    """

    nodes: NodeSource
    num_nodes: int
    sizes: Tensor | None = None
    adjacency: Tensor | None = None

    def draw(self, num: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw ``{"nodes": float32 (num, M, D)}``; with sizes also ``"mask"``, with an adjacency ``"adjacency"``.

        The mask is bool ``(num, M)`` and False at padding, where nodes, rows and columns are zero.
        """
        nodes = self.nodes.sample(num, generator=generator)
        graph = self.structure(num, generator)
        if graph.mask is not None:
            nodes = nodes * graph.mask.unsqueeze(2)
        parts = {"nodes": nodes, "mask": graph.mask, "adjacency": graph.adjacency}
        return {key: part for key, part in parts.items() if part is not None}

    def structure(self, num: int, generator: torch.Generator) -> Graph:
        """Draw sizes and edges of ``num`` graphs, without nodes."""
        mask = adjacency = None
        if self.sizes is not None:
            sizes = self.sizes[torch.randint(len(self.sizes), (num, 1), generator=generator)]
            mask = torch.arange(self.num_nodes) < sizes
        if self.adjacency is not None:
            adjacency = self.adjacency.repeat(num, 1, 1)
            if mask is not None:
                adjacency *= mask.unsqueeze(1) & mask.unsqueeze(2)
        return Graph(adjacency, mask)


class FreshGraphs(Dataset[dict[str, Tensor]]):
    """Batches without end: item k is a whole batch, and follows from the seed and k alone.

    ``"index"`` int64 ``(batch_size,)`` numbers all graphs of a seed. To be read through :class:`FreshSampler`.

    Args:
        source: draws the graphs.
        batch_size: graphs in a batch.
        num_batches: what ``len`` says, the batches of an epoch on all ranks; later items are as good.
        seed: of all batches.
    """

    def __init__(self, source: GraphSource, *, batch_size: int, num_batches: int, seed: int) -> None:
        self.source, self.batch_size, self.num_batches, self.seed = source, batch_size, num_batches, seed

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, k: int) -> dict[str, Tensor]:
        batch = self.source.draw(self.batch_size, training_stream(self.seed, k))
        return batch | {"index": k * self.batch_size + torch.arange(self.batch_size)}


class FreshSampler(DistributedSampler[int]):
    """Numbers of batches such that no epoch, step or rank ever sees one again: (epoch · steps + i) · ranks + rank.

    As a DistributedSampler it is told the epoch by Lightning, and otherwise left alone.

    Args:
        dataset: the batches.
        steps_per_epoch: batches of an epoch on each rank.
        num_ranks: processes that share the data.
        rank: number of this process among them.
        first_step: tells how many steps of the epoch are done already, where a run goes on within an epoch.
    """

    def __init__(
        self,
        dataset: FreshGraphs,
        *,
        steps_per_epoch: int,
        num_ranks: int,
        rank: int,
        first_step: Callable[[], int] = lambda: 0,
    ) -> None:
        super().__init__(dataset, num_replicas=num_ranks, rank=rank, shuffle=False)
        self.num_samples = steps_per_epoch
        self.first_step = first_step

    def __iter__(self) -> Iterator[int]:
        # A generator: Lightning makes the iterator of a resumed run before it tells the epoch.
        for i in range(self.first_step(), self.num_samples):
            yield (self.epoch * self.num_samples + i) * self.num_replicas + self.rank


class GraphDataset(Dataset[dict[str, Tensor]]):
    """Graphs in memory: item i holds entry i of each tensor and ``"index"``, its number.

    Raises: ShapeError if the tensors have different lengths.

    >>> GraphDataset({"nodes": torch.zeros(3, 4, 2)})[2]["index"]
    tensor(2)
    """

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        if len({len(tensor) for tensor in tensors.values()}) != 1:
            lengths = {key: len(tensor) for key, tensor in tensors.items()}
            raise ShapeError(f"expected tensors of one length; got {lengths}")
        self.tensors = tensors

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {key: tensor[index] for key, tensor in self.tensors.items()} | {"index": torch.tensor(index)}


def training_stream(seed: int, k: int) -> torch.Generator:
    """Return the generator of training batch k."""
    return stream(seed, "training graphs", k)


def evaluation_stream(seed: int, part: str) -> torch.Generator:
    """Return the generator of a part, val or test."""
    return stream(seed, f"{part} graphs")


def check_sizes(sizes: Sequence[int], num_nodes: int) -> Tensor:
    """Return sizes as a tensor ``(K,)``. Raises: DataError if there is none, or one not within 1 to num_nodes."""
    if not sizes or not all(1 <= size <= num_nodes for size in sizes):
        raise DataError(f"expected sizes from 1 to {num_nodes}, as there are as many means; got {list(sizes)}")
    return torch.tensor(sizes)


def adjacency_matrix(adjacency: Sequence[Sequence[int]], num_nodes: int) -> Tensor:
    """Return an adjacency as float32 ``(M, M)``; nodes without an edge are allowed.

    Raises: ShapeError unless it has a row and a column for each of ``num_nodes``, is symmetric, of zeros and ones, and
    without an edge from a node to itself.

    >>> adjacency_matrix([[0, 1], [1, 0]], 2)
    tensor([[0., 1.],
            [1., 0.]])
    """
    lengths = {len(row) for row in adjacency}
    if len(adjacency) != num_nodes or lengths != {num_nodes}:
        raise ShapeError(
            f"expected an adjacency of {num_nodes} rows of {num_nodes}, one for each mean; got {len(adjacency)} rows "
            f"of length {' or '.join(map(str, sorted(lengths))) or 0}"
        )
    matrix = torch.tensor(adjacency, dtype=torch.float32)
    check_adjacency(matrix)
    return matrix
