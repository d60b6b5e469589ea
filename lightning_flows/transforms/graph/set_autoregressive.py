"""A coupling layer that is autoregressive over the nodes of a set."""

import torch
from torch import Tensor

from lightning_flows.functional.graphs import COMPLETE, Graph
from lightning_flows.functional.value_maps import (
    ValueMap,
    apply_map,
    initial_params,
    invert_map,
    num_map_parameters,
)
from lightning_flows.nets.attention import AttentionSizes
from lightning_flows.nets.graph_attention import SetAutoregressiveNet
from lightning_flows.transforms.base import Result
from lightning_flows.transforms.graph.coupling import FeatureCoupling


class SetAutoregressiveCoupling(FeatureCoupling):
    r"""Transform one feature of the nodes one by one, in the order of another feature, which is unchanged.

    .. math:: z_{\sigma(i),m} = T\big(x_{\sigma(i),m};\, \mathrm{net}(x_{\cdot,\ne m},
              x_{\sigma(1),m}, \dots, x_{\sigma(i-1),m})_i\big), \qquad x_{\sigma(1),k} \le x_{\sigma(2),k} \le \dots

    The order σ is a function of the set, so the layer is exactly equivariant to the order of the nodes; nodes with
    equal values of feature k, which have probability zero, keep their order. A coupling treats nodes as independent
    given the conditioning features; here each node also depends on the values of those before it. Two layers, one per
    feature, can represent any density of sets.

    The inverse takes one pass of the net per node. The order includes all nodes that exist; only the encoding of the
    conditioning features depends on the adjacency. Shapes: see :class:`GraphTransform`.

    Args:
        features: F.
        transformed_dim: m; nodes are ordered by the first of the other features.
        node_map: the monotone map T.
        components: of its mixture, or bins of its spline.
        sizes: sizes of the net, see :class:`SetAutoregressiveNet`.

    >>> layer = SetAutoregressiveCoupling(2, 0)
    >>> x, order = torch.randn(4, 9, 2), torch.randperm(9)
    >>> z, log_det = layer(x)
    >>> torch.allclose(layer(x[:, order])[0], z[:, order], atol=1e-4), log_det.shape
    (True, torch.Size([4]))
    """

    def __init__(
        self,
        features: int,
        transformed_dim: int,
        *,
        node_map: ValueMap = "mixture",
        components: int = 8,
        sizes: AttentionSizes = AttentionSizes(),
    ) -> None:
        super().__init__(features, transformed_dim, node_map)
        self.net = SetAutoregressiveNet(features - 1, num_map_parameters(node_map, components), sizes)
        with torch.no_grad():
            self.net.out.bias.copy_(initial_params(node_map, components))

    def forward(self, x: Tensor, context: Graph | None = None) -> Result:
        order, conditioned, values, graph = self._sort(x, context or COMPLETE)
        params = self.net.decode(self.net.encode(conditioned, graph), conditioned, values).to(x.dtype)
        z, log_derivative = apply_map(self.node_map, values, params)
        return self._result(x, z, log_derivative, order, graph)

    def inverse(self, z: Tensor, context: Graph | None = None) -> Result:
        order, conditioned, latent, graph = self._sort(z, context or COMPLETE)
        encoded = self.net.encode(conditioned, graph)
        known: list[Tensor] = []
        log_derivatives: list[Tensor] = []
        for i in range(z.shape[1]):
            # the last of these values is that of node i, on which its own parameters do not depend
            before = torch.stack([*known, torch.zeros_like(latent[:, i])], dim=1)
            params = self.net.decode(encoded[:, : i + 1], conditioned[:, : i + 1], before)[:, i].to(z.dtype)
            value, log_derivative = invert_map(self.node_map, latent[:, i], params)
            known.append(value)
            log_derivatives.append(log_derivative)
        return self._result(z, torch.stack(known, 1), torch.stack(log_derivatives, 1), order, graph)

    def _sort(self, x: Tensor, graph: Graph) -> tuple[Tensor, Tensor, Tensor, Graph]:
        """Return the order, and the conditioning features, values and graph in that order; padding comes last."""
        conditioned, values = self.split(x)
        adjacency, mask = graph
        key = conditioned[..., 0] if mask is None else conditioned[..., 0].where(mask, torch.inf)
        order = key.argsort(dim=1, stable=True)
        mask = None if mask is None else mask.gather(1, order)
        if adjacency is not None:
            adjacency = adjacency.expand(x.shape[0], -1, -1)
            adjacency = adjacency.gather(1, order[:, :, None].expand_as(adjacency))
            adjacency = adjacency.gather(2, order[:, None, :].expand_as(adjacency))
        conditioned = conditioned.gather(1, order[..., None].expand_as(conditioned))
        return order, conditioned, values.gather(1, order), Graph(adjacency, mask)

    def _result(self, x: Tensor, values: Tensor, log_derivative: Tensor, order: Tensor, graph: Graph) -> Result:
        """Put sorted values back into x, and sum their log-derivatives; ``graph`` is sorted."""
        weights = graph.node_weights(x)
        unsorted, weights_unsorted = (torch.zeros_like(a).scatter(1, order, a) for a in (values, weights))
        return self.replace(x, unsorted, weights_unsorted), (weights * log_derivative).sum(1)
