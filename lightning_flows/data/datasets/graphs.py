"""Random graphs."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from lightning_flows.errors import ShapeError, UsageError
from lightning_flows.functional.graphs import Graph, check_adjacency


class NodeSource(Protocol):
    """Draws the nodes of graphs, ``(num, M, D)``, in random order."""

    def sample(self, num: int, *, generator: torch.Generator) -> Tensor: ...


class GraphSource:
    """Graphs of at most M nodes: nodes from a source, random sizes, and the same edges for all.

    A smaller graph keeps the first of M nodes in random order, that is, a random subset of them.

    Args:
        nodes: draws nodes ``(num, M, D)``.
        num_nodes: M.
        sizes: numbers of nodes, one of which is drawn uniformly for each graph; None: all graphs have M nodes.
        adjacency: zeros and ones, ``(M, M)``, symmetric, without self-loops; None: complete graphs.

    Raises: UsageError for sizes outside 1 to M, or an empty list of them; ShapeError for an invalid adjacency.
    """

    def __init__(
        self,
        nodes: NodeSource,
        num_nodes: int,
        *,
        sizes: Sequence[int] | None = None,
        adjacency: Sequence[Sequence[int]] | None = None,
    ) -> None:
        if sizes is not None and not (sizes and all(1 <= size <= num_nodes for size in sizes)):
            raise UsageError(f"expected sizes from 1 to {num_nodes}, the number of means; got {list(sizes)}")
        if adjacency is not None and {num_nodes} != {len(adjacency), *map(len, adjacency)}:
            lengths = " or ".join(map(str, sorted(set(map(len, adjacency))))) or 0
            raise ShapeError(
                f"expected an adjacency of {num_nodes} rows of {num_nodes}, one per mean; got {len(adjacency)} rows of "
                f"length {lengths}"
            )
        self.nodes, self.num_nodes = nodes, num_nodes
        self.sizes = None if sizes is None else torch.tensor(sizes)
        self.adjacency = None if adjacency is None else torch.tensor(adjacency, dtype=torch.float32)
        if self.adjacency is not None:
            check_adjacency(self.adjacency)

    def draw(self, num: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw ``{"nodes": float32 (num, M, D)}``; with sizes also ``"mask"``, with an adjacency ``"adjacency"``.

        The mask is bool ``(num, M)`` and False at padding, where nodes, rows and columns are zero.
        """
        nodes = self.nodes.sample(num, generator=generator)
        graph = self.structure(num, generator)
        if graph.mask is not None:
            nodes = nodes * graph.mask.unsqueeze(2)
        tensors = {"nodes": nodes, "mask": graph.mask, "adjacency": graph.adjacency}
        return {key: tensor for key, tensor in tensors.items() if tensor is not None}

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
