"""Graphs in a batch: which nodes exist and which are neighbors."""

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_flows.errors import InputTypeError, ShapeError


class Graph(NamedTuple):
    """The structure for node features ``(B, N, F)``.

    Args:
        adjacency: ``(N, N)`` or ``(B, N, N)``; 0 for no edge, 1 for an edge, other values for weighted edges. Edges
            may be directed, and self-loops are allowed. None for complete graphs. Values at padding are ignored.
        mask: ``(B, N)``, False for padding, that is, nodes that do not exist; None if all do.

    >>> mask = torch.tensor([[True, True, False]])  # the third node does not exist
    >>> graph = Graph(adjacency=torch.tensor([[0, 1, 1], [1, 0, 1], [1, 1, 0]]), mask=mask)
    >>> graph.edges(torch.float32), graph.node_weights(torch.zeros(1, 3, 2))
    (tensor([[[0., 1., 0.],
             [1., 0., 0.],
             [0., 0., 0.]]]), tensor([[1., 1., 0.]]))
    """

    adjacency: Tensor | None = None
    mask: Tensor | None = None

    def node_weights(self, x: Tensor) -> Tensor:
        """Ones for nodes that exist and zeros for padding, ``(B, N)`` in x's dtype."""
        return x.new_ones(x.shape[:2]) if self.mask is None else self.mask.to(x.dtype)

    def edges(self, dtype: torch.dtype) -> Tensor | None:
        """The adjacency in a dtype, with padding set to zero; None for complete graphs."""
        if self.adjacency is None:
            return None
        edges = self.adjacency.to(dtype)
        return edges if self.mask is None else edges.masked_fill(~_pairs(self.mask), 0)

    def attention_mask(self) -> Tensor | None:
        """Bool mask ``(B or 1, N, N)`` of neighbors and the node itself; for padding, only itself; None for all."""
        found = None if self.mask is None else _pairs(self.mask)
        if self.adjacency is not None:
            edges = self.adjacency.bool() if self.adjacency.ndim == 3 else self.adjacency.bool()[None]
            found = edges if found is None else edges & found
        return None if found is None else found | torch.eye(found.shape[-1], dtype=torch.bool, device=found.device)


def _pairs(mask: Tensor) -> Tensor:
    """Mask of the pairs of nodes that exist, ``(B, N, N)``."""
    return mask[:, :, None] & mask[:, None, :]


COMPLETE = Graph()
"""Complete graphs without padding."""


def check_nodes(x: Tensor, features: int, graph: Graph | None) -> Graph:
    """Return the graph of node features x ``(B, N, features)``.

    Raises: InputTypeError for integers, a mask that is not bool, a complex adjacency or a context that is not a Graph;
    ShapeError if shapes do not match, or x has no nodes.

    >>> check_nodes(torch.zeros(4, 9, 2), features=2, graph=None)
    Graph(adjacency=None, mask=None)
    >>> check_nodes(torch.zeros(4, 9, 2), features=3, graph=None)
    Traceback (most recent call last):
        ...
    lightning_flows.errors.ShapeError: expected shape (B, N, 3) with at least one node; got (4, 9, 2)
    """
    if graph is not None and not isinstance(graph, Graph):
        raise InputTypeError(f"expected a Graph as context; got {type(graph).__name__}: pass Graph(adjacency, mask)")
    if not x.is_floating_point():
        raise InputTypeError(f"expected a floating tensor; got {x.dtype}")
    if x.ndim != 3 or x.shape[2] != features or x.shape[1] < 1:
        raise ShapeError(f"expected shape (B, N, {features}) with at least one node; got {tuple(x.shape)}")
    batch, nodes, _ = x.shape
    adjacency, mask = graph = COMPLETE if graph is None else graph
    if mask is not None and mask.shape != x.shape[:2]:
        raise ShapeError(f"expected a mask of shape {(batch, nodes)}; got {tuple(mask.shape)}")
    if mask is not None and mask.dtype != torch.bool:
        raise InputTypeError(f"expected a bool mask, False at padding; got {mask.dtype}")
    if adjacency is not None:
        if adjacency.shape[-2:] != (nodes, nodes):
            raise ShapeError(f"expected an adjacency matrix for {nodes} nodes; got shape {tuple(adjacency.shape)}")
        if adjacency.ndim > 3 or (adjacency.ndim == 3 and adjacency.shape[0] not in (1, batch)):
            raise ShapeError(f"expected one adjacency matrix, or one for each of {batch}; got {tuple(adjacency.shape)}")
        if adjacency.is_complex() or adjacency.layout != torch.strided:
            got = f"{adjacency.dtype}, {adjacency.layout}"
            raise InputTypeError(f"expected a dense adjacency matrix of real numbers; got {got}")
    return graph


def check_adjacency(adjacency: Tensor) -> None:
    """Raise ShapeError unless a matrix, or each of a batch, is square, symmetric, of zeros and ones, without loops.

    A node without neighbors is allowed. This reads values from the device: call it on data, not in a forward pass.

    Shapes: ``(N, N)`` or ``(B, N, N)``.

    >>> check_adjacency(torch.tensor([[0, 1], [1, 0]]))
    >>> check_adjacency(torch.tensor([[0, 1], [0, 0]]))
    Traceback (most recent call last):
        ...
    lightning_flows.errors.ShapeError: expected a symmetric adjacency matrix; got directed edges
    """
    if adjacency.ndim not in (2, 3) or adjacency.shape[-1] != adjacency.shape[-2]:
        raise ShapeError(f"expected a square adjacency matrix; got shape {tuple(adjacency.shape)}")
    if not ((adjacency == 0) | (adjacency == 1)).all():
        raise ShapeError("expected an adjacency matrix of zeros and ones; got other values")
    if not torch.equal(adjacency, adjacency.mT):
        raise ShapeError("expected a symmetric adjacency matrix; got directed edges")
    if adjacency.diagonal(dim1=-2, dim2=-1).any():
        raise ShapeError("expected no node to be its own neighbor; got ones on the adjacency matrix's diagonal")


def normalized_adjacency(adjacency: Tensor) -> Tensor:
    r"""Adjacency ``(..., N, N)`` normalized by its degrees; its norm is at most one for any real adjacency.

    .. math:: R^{-1/2} A\, C^{-1/2}, \qquad R = \operatorname{diag}\Big(\sum_j |A_{ij}|\Big), \quad
              C = \operatorname{diag}\Big(\sum_i |A_{ij}|\Big)

    For undirected edges this is :math:`D^{-1/2} A D^{-1/2}`. The bound on the norm follows from Schur's test with the
    weights :math:`R^{1/2}` and :math:`C^{1/2}`. A node without neighbors has degree 0: its row and column are zero.

    >>> normalized_adjacency(torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))[0]
    tensor([0., 1., 0.])
    """
    size = adjacency.abs()
    tiny = torch.finfo(adjacency.dtype).tiny
    rows, columns = (degree.clamp(min=tiny).rsqrt() for degree in (size.sum(-1), size.sum(-2)))
    return rows[..., :, None] * adjacency * columns[..., None, :]
