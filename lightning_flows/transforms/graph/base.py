"""What transforms of node features have in common."""

from typing import Any

import torch
from torch import Tensor

from lightning_flows.errors import ShapeError
from lightning_flows.functional.graphs import Graph, check_nodes
from lightning_flows.transforms.base import Transform


class GraphTransform(Transform):
    """A bijection of node features; ``context`` is their :class:`Graph`, None for complete graphs without padding.

    Padding stays as it is and counts for nothing. Shapes: x, z ``(B, N, features)``; log_det ``(B,)`` in nats.
    Raises: ShapeError if x has another number of features, no nodes, or does not fit the graph.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        if features < 1:
            raise ShapeError(f"expected at least one feature; got {features}")
        self.features = features

    def check(self, x: Tensor, context: Any) -> tuple[Graph, Tensor]:
        """The graph, and one for each node that exists, zero for padding: ``(B, N)``."""
        graph = check_nodes(x, self.features, context)
        return graph, graph.node_weights(x)


def keep_padding(changed: Tensor, x: Tensor, graph: Graph) -> Tensor:
    """``changed`` at nodes that exist, x at padding."""
    return changed if graph.mask is None else torch.where(graph.mask[..., None], changed, x)
