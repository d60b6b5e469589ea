"""Graphs in a batch: which nodes exist and which are neighbours."""

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_flows.errors import InputTypeError, ShapeError


class Graph(NamedTuple):
    """The structure that goes with node features ``(B, N, F)``.

    Args:
        adjacency: ``(N, N)`` or ``(B, N, N)``, 0 or 1, symmetric, zeros on the diagonal; None for complete graphs.
        mask: ``(B, N)``, False for padding: nodes that do not exist; None if all do.
    """

    adjacency: Tensor | None = None
    mask: Tensor | None = None

    def node_weights(self, x: Tensor) -> Tensor:
        """One for each node that exists and zero for padding, ``(B, N)`` of x's dtype."""
        return x.new_ones(x.shape[:2]) if self.mask is None else self.mask.to(x.dtype)

    def neighbours(self) -> Tensor | None:
        """Which node sees which, itself included, ``(B or 1, N, N)`` bool; padding sees itself; None if all see all."""
        seen = None if self.mask is None else self.mask[:, :, None] & self.mask[:, None, :]
        if self.adjacency is not None:
            edges = self.adjacency.bool() if self.adjacency.ndim == 3 else self.adjacency.bool()[None]
            seen = edges if seen is None else edges & seen
        return None if seen is None else seen | torch.eye(seen.shape[-1], dtype=torch.bool, device=seen.device)


COMPLETE = Graph()
"""Complete graphs without padding."""


def check_nodes(x: Tensor, features: int, graph: Graph | None) -> Graph:
    """The graph of node features x ``(B, N, features)``.

    Raises: TypeError for integers or a mask that is not bool; ShapeError if shapes do not fit, or x has no nodes.
    """
    if not x.is_floating_point():
        raise InputTypeError(f"expected a floating tensor; got {x.dtype}")
    if x.ndim != 3 or x.shape[2] != features or x.shape[1] < 1:
        raise ShapeError(f"expected shape (B, N, {features}) with at least one node; got {tuple(x.shape)}")
    graph = COMPLETE if graph is None else graph
    if graph.mask is not None and graph.mask.shape != x.shape[:2]:
        raise ShapeError(f"expected a mask of shape {tuple(x.shape[:2])}; got {tuple(graph.mask.shape)}")
    if graph.mask is not None and graph.mask.dtype != torch.bool:
        raise InputTypeError(f"expected a mask of bool, False at padding; got {graph.mask.dtype}")
    if graph.adjacency is not None and graph.adjacency.shape[-2:] != (x.shape[1], x.shape[1]):
        raise ShapeError(
            f"expected an adjacency matrix for {x.shape[1]} nodes; got shape {tuple(graph.adjacency.shape)}"
        )
    return graph


def check_adjacency(adjacency: Tensor) -> None:
    """Raise ShapeError unless a matrix, or each of a batch, is square, symmetric, of zeros and ones, without loops.

    A node without neighbours is allowed. This reads values from the device: call it on data, not in a forward.
    """
    if adjacency.ndim not in (2, 3) or adjacency.shape[-1] != adjacency.shape[-2]:
        raise ShapeError(f"expected a square adjacency matrix; got shape {tuple(adjacency.shape)}")
    if not ((adjacency == 0) | (adjacency == 1)).all():
        raise ShapeError("expected an adjacency matrix of zeros and ones; got other values")
    if not torch.equal(adjacency, adjacency.mT):
        raise ShapeError("expected a symmetric adjacency matrix: edges have no direction here; got another")
    if adjacency.diagonal(dim1=-2, dim2=-1).any():
        raise ShapeError("expected no node to be its own neighbour; got ones on the adjacency matrix's diagonal")


def normalized_adjacency(adjacency: Tensor) -> Tensor:
    r"""Symmetrically normalised adjacency :math:`D^{-1/2} A D^{-1/2}`; its norm is at most one.

    A node without neighbours has the degree 0: its row and column are zero, as an empty sum has it.
    Shapes: ``(..., N, N)``.

    >>> normalized_adjacency(torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))[0]
    tensor([0., 1., 0.])
    """
    degree = adjacency.sum(-1)
    scale = torch.where(degree > 0, degree.clamp(min=1).rsqrt(), 0.0)
    return scale[..., :, None] * adjacency * scale[..., None, :]
