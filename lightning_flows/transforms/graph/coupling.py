"""Coupling layers over node features."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from lightning_flows.errors import ShapeError, UsageError
from lightning_flows.functional.gaussian_mixture import mixture_from_normal, mixture_to_normal
from lightning_flows.functional.graphs import COMPLETE, Graph
from lightning_flows.transforms.base import Result
from lightning_flows.transforms.graph.base import GraphTransform

NodeMap = Literal["affine", "mixture"]
"""Monotone maps of one value: scale and shift, or the distribution function of a Gaussian mixture."""
LOG_SCALE_BOUND = 2.0


def num_parameters(kind: NodeMap, components: int) -> int:
    """Number of parameters of a map. Raises: UsageError for an unknown kind or no components."""
    if kind not in ("affine", "mixture") or components < 1:
        raise UsageError(f"expected affine or mixture, and at least one component; got {kind} and {components}")
    return 2 if kind == "affine" else 3 * components


def initial_params(kind: NodeMap, components: int) -> Tensor:
    """Initial parameters: the identity, or components spread over the range of normalized values."""
    if kind == "affine":
        return torch.zeros(2)
    return torch.cat([torch.zeros(components), torch.linspace(-1.5, 1.5, components), torch.full((components,), -0.7)])


def apply_map(kind: NodeMap, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
    """Map each value y ``(...)`` to z and log z' for parameters ``(..., P)``."""
    if kind == "mixture":
        return mixture_to_normal(y, params)
    log_scale = LOG_SCALE_BOUND * torch.tanh(params[..., 0] / LOG_SCALE_BOUND)
    return y * torch.exp(log_scale) + params[..., 1], log_scale


def invert_map(kind: NodeMap, z: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
    """Map each value z to y and log y'; the inverse of :func:`apply_map`."""
    if kind == "mixture":
        return mixture_from_normal(z, params)
    log_scale = LOG_SCALE_BOUND * torch.tanh(params[..., 0] / LOG_SCALE_BOUND)
    return (z - params[..., 1]) * torch.exp(-log_scale), -log_scale


class FeatureCoupling(GraphTransform):
    """Base of couplings that transform the feature ``transformed_dim`` of each node, conditioned on the others.

    Raises: ShapeError for fewer than two features, or a feature that does not exist.
    """

    def __init__(self, features: int, transformed_dim: int, node_map: NodeMap) -> None:
        super().__init__((None, features))
        if features < 2:
            raise ShapeError(f"expected at least two features, one to transform and one to keep; got {features}")
        if not 0 <= transformed_dim < features:
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
    Shapes: see :class:`GraphTransform`; the net returns ``(B, N, P)`` with P from :func:`num_parameters`.
    Source: Liu et al., Graph Normalizing Flows, 2019.
    """

    def __init__(
        self, features: int, transformed_dim: int, net: nn.Module, *, node_map: NodeMap = "affine", components: int = 8
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
