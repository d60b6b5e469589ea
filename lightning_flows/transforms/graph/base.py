"""The base class of transforms of node features."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_flows.errors import ShapeError
from lightning_flows.functional.graphs import Graph, check_nodes
from lightning_flows.transforms.base import Shape, Transform


class GraphTransform(Transform):
    r"""A bijection of node features; ``context`` is their :class:`Graph`, None for complete graphs without padding.

    .. math:: Z = f(X; A), \qquad \log|\det \partial Z/\partial X|

    Padding is unchanged and does not contribute if it is finite, as :class:`GraphFlow` makes it. Shapes: x, z ``(B, N,
    features)``; log_det ``(B,)`` in nats.
    Raises: ShapeError if x has a different number of features, no nodes, or does not match the graph.

    >>> class Shift(GraphTransform):  # moves each node to the right
    ...     def forward(self, x, context=None):
    ...         return keep_padding(x + torch.tensor([1.0, 0.0]), x, context or Graph()), 0.0
    ...     def inverse(self, z, context=None):
    ...         return keep_padding(z - torch.tensor([1.0, 0.0]), z, context or Graph()), 0.0
    >>> Shift((None, 2))(torch.zeros(1, 2, 2), Graph(mask=torch.tensor([[True, False]])))
    (tensor([[[1., 0.],
             [0., 0.]]]), tensor([0.]))
    """

    def __init__(self, event_shape: Sequence[int | None]) -> None:
        super().__init__(event_shape)
        if event_shape[-1] is None or event_shape[-1] < 1:
            raise ShapeError(f"expected at least one feature; got {event_shape[-1]}")

    @property
    def features(self) -> int:
        """Number of features per node."""
        return self.event_shape[-1]  # type: ignore[index,return-value]

    def check(self, x: Tensor, context: Any, shape: Shape | None) -> None:
        super().check(x, context, shape)
        check_nodes(x, self.features, context)


def keep_padding(changed: Tensor, x: Tensor, graph: Graph) -> Tensor:
    """``changed`` at nodes that exist, x at padding."""
    return changed if graph.mask is None else torch.where(graph.mask[..., None], changed, x)
