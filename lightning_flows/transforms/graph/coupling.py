"""Coupling layers over node features."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lightning_flows.errors import ShapeError
from lightning_flows.functional.graphs import COMPLETE, Graph
from lightning_flows.functional.value_maps import ValueMap, apply_map, initial_params, invert_map
from lightning_flows.transforms.base import Result
from lightning_flows.transforms.graph.base import GraphTransform


class FeatureCoupling(GraphTransform):
    """Base of couplings that transform the feature ``transformed_dim`` of each node, conditioned on the others.

    Raises: ShapeError for fewer than two features, or a feature that does not exist.
    """

    def __init__(self, features: int, transformed_dim: int, node_map: ValueMap) -> None:
        super().__init__((None, features))
        if features < 2:
            raise ShapeError(f"expected at least two features, one to transform and one to keep; got {features}")
        if transformed_dim not in range(features):
            raise ShapeError(f"expected a feature between 0 and {features - 1}; got {transformed_dim}")
        self.transformed_dim, self.node_map = transformed_dim, node_map

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The conditioning features ``(B, N, F - 1)`` and the one to transform ``(B, N)``."""
        m = self.transformed_dim
        return torch.cat([x[..., :m], x[..., m + 1 :]], dim=-1), x[..., m]

    def replace(self, x: Tensor, values: Tensor, weights: Tensor) -> Tensor:
        """x with its feature replaced by ``values (B, N)`` at nodes that exist."""
        m = self.transformed_dim
        return torch.cat([x[..., :m], torch.where(weights > 0, values, x[..., m])[..., None], x[..., m + 1 :]], dim=-1)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, transformed_dim={self.transformed_dim}, node_map={self.node_map}"


class GraphCoupling(FeatureCoupling):
    r"""Transform one feature of each node, conditioned on the other features of all nodes.

    .. math:: z_{n,m} = T\big(x_{n,m};\, \mathrm{net}(x_{\cdot,\ne m}, A)_n\big), \qquad
              \log|\det J| = \sum_n \log T'(x_{n,m})

    With a net that is equivariant to the order of the nodes, so is the layer.
    Shapes: see :class:`GraphTransform`; the net returns ``(B, N, P)`` with P from :func:`num_map_parameters`.
    Source: Liu et al., Graph Normalizing Flows, 2019.

    >>> from lightning_flows.nets import GraphAttentionNet
    >>> layer = GraphCoupling(2, 0, GraphAttentionNet(1, 2))  # the net sees feature 1 and returns scale and shift
    >>> x, order = torch.randn(4, 9, 2), torch.randperm(9)
    >>> z, log_det = layer(x)
    >>> torch.equal(z[..., 1], x[..., 1]), torch.allclose(layer(x[:, order])[0], z[:, order], atol=1e-4)
    (True, True)
    """

    def __init__(
        self, features: int, transformed_dim: int, net: nn.Module, *, node_map: ValueMap = "affine", components: int = 8
    ) -> None:
        super().__init__(features, transformed_dim, node_map)
        self.net = net
        self.initial_params = nn.Parameter(initial_params(node_map, components))

    def forward(self, x: Tensor, context: Graph | None = None) -> Result:
        return self._transform(apply_map, x, context or COMPLETE)

    def inverse(self, z: Tensor, context: Graph | None = None) -> Result:
        return self._transform(invert_map, z, context or COMPLETE)

    def _transform(self, node_map: Callable[..., tuple[Tensor, Tensor]], x: Tensor, graph: Graph) -> Result:
        weights = graph.node_weights(x)
        conditioned, values = self.split(x)
        params = self.net(conditioned, graph).to(x.dtype) + self.initial_params
        values, log_derivative = node_map(self.node_map, values, params)
        return self.replace(x, values, weights), (weights * log_derivative).sum(1)
