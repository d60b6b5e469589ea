"""A coupling layer that is autoregressive over the nodes of a set."""

from typing import Any

import torch
from torch import Tensor

from lightning_flows.functional.graphs import COMPLETE, Graph
from lightning_flows.nets.graph_attention import SetAutoregressiveNet
from lightning_flows.transforms.graph.base import GraphTransform
from lightning_flows.transforms.graph.coupling import (
    NodeMap,
    apply_map,
    check_transformed_dim,
    initial_params,
    invert_map,
    num_parameters,
    replace_feature,
)


class SetAutoregressiveCoupling(GraphTransform):
    r"""Transform one feature of the nodes one after the other, in the order of another feature, which is kept.

    .. math:: z_{\sigma(i),m} = T\big(x_{\sigma(i),m};\, \mathrm{net}(x_{\cdot,\ne m},
              x_{\sigma(1),m}, \dots, x_{\sigma(i-1),m})_i\big), \qquad x_{\sigma(1),k} \le x_{\sigma(2),k} \le \dots

    The order σ is a function of the set, so the layer is equivariant, exactly, to the order in which nodes come; nodes
    that agree in the kept feature, which has probability zero, keep their order. A coupling treats nodes as independent
    given what is kept; this one can tell each node what those before it have taken. Two layers, with the features in
    turns, can express any density of sets.

    The inverse takes as many passes of the net as there are nodes. The order runs over all nodes that exist, whatever
    the adjacency, which only the encoding of kept features follows.

    Shapes: see :class:`GraphTransform`. Raises: ShapeError for fewer than two features, or a feature that is not there.

    Args:
        features: F.
        transformed_dim: the feature m to transform; nodes are ordered by the first of the others.
        node_map: the monotone map T.
        components: of its mixture.
        kwargs: sizes of the net, see :class:`SetAutoregressiveNet`.
    """

    def __init__(
        self, features: int, transformed_dim: int, *, node_map: NodeMap = "mixture", components: int = 8, **kwargs: Any
    ) -> None:
        super().__init__((None, features))
        check_transformed_dim(features, transformed_dim)
        self.transformed_dim, self.node_map = transformed_dim, node_map
        self.order_by = 1 if transformed_dim == 0 else 0
        self.net = SetAutoregressiveNet(features - 1, num_parameters(node_map, components), **kwargs)
        with torch.no_grad():
            self.net.out.bias.copy_(initial_params(node_map, components))

    def forward(self, x: Tensor, context: Graph | None = None) -> tuple[Tensor, Tensor]:
        graph = context or COMPLETE
        weights = graph.node_weights(x)
        order, kept, values, graph = self._sort(x, graph)
        params = self.net.decode(self.net.encode(kept, graph), kept, values).to(x.dtype)
        z, log_derivative = apply_map(self.node_map, values, params)
        return self._unsort(x, z, order, weights), (graph.node_weights(x) * log_derivative).sum(1)

    def inverse(self, z: Tensor, context: Graph | None = None) -> tuple[Tensor, Tensor]:
        graph = context or COMPLETE
        weights = graph.node_weights(z)
        order, kept, latent, graph = self._sort(z, graph)
        encoded = self.net.encode(kept, graph)
        known: list[Tensor] = []
        log_derivatives: list[Tensor] = []
        for i in range(z.shape[1]):
            nodes = slice(0, i + 1)
            # the last of the values is that of the node in question, which its own parameters do not see
            before = torch.stack([*known, torch.zeros_like(latent[:, i])], dim=1)
            values = self.net.decode(encoded[:, nodes], kept[:, nodes], before)[:, i].to(z.dtype)
            value, log_derivative = invert_map(self.node_map, latent[:, i], values)
            known.append(value)
            log_derivatives.append(log_derivative)
        x = self._unsort(z, torch.stack(known, dim=1), order, weights)
        return x, (graph.node_weights(z) * torch.stack(log_derivatives, dim=1)).sum(1)

    def _sort(self, x: Tensor, graph: Graph) -> tuple[Tensor, Tensor, Tensor, Graph]:
        """The order; the kept features, the transformed one and the graph in that order. Padding comes last."""
        key = x[..., self.order_by]
        if graph.mask is not None:
            key = torch.where(graph.mask, key, torch.inf)
        order = key.argsort(dim=1, stable=True)
        values = x[..., self.transformed_dim].gather(1, order)
        kept = torch.cat([x[..., : self.transformed_dim], x[..., self.transformed_dim + 1 :]], dim=-1)
        kept = kept.gather(1, order[..., None].expand_as(kept))
        mask, adjacency = graph.mask, graph.adjacency
        if mask is not None:
            mask = mask.gather(1, order)
        if adjacency is not None:
            adjacency = adjacency.expand(len(x), -1, -1)
            adjacency = adjacency.gather(1, order[:, :, None].expand_as(adjacency))
            adjacency = adjacency.gather(2, order[:, None, :].expand_as(adjacency))
        return order, kept, values, Graph(adjacency, mask)

    def _unsort(self, x: Tensor, values: Tensor, order: Tensor, weights: Tensor) -> Tensor:
        unsorted = torch.zeros_like(values).scatter(1, order, values)
        return replace_feature(x, self.transformed_dim, unsorted, weights)
