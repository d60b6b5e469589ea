"""Coupling layers over node features."""

from typing import Literal

import torch
from torch import Tensor, nn

from lightning_flows.errors import ShapeError, UsageError
from lightning_flows.functional.gaussian_mixture import mixture_from_normal, mixture_to_normal
from lightning_flows.functional.graphs import COMPLETE, Graph
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
    """Parameters to start from: the identity, or components spread over where normalized values lie."""
    if kind == "affine":
        return torch.zeros(2)
    return torch.cat([torch.zeros(components), torch.linspace(-1.5, 1.5, components), torch.full((components,), -0.7)])


def apply_map(kind: NodeMap, y: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """z and log z' of each value y ``(...)`` for parameters ``(..., P)``."""
    if kind == "mixture":
        return mixture_to_normal(y, values)
    log_scale = LOG_SCALE_BOUND * torch.tanh(values[..., 0] / LOG_SCALE_BOUND)
    return y * torch.exp(log_scale) + values[..., 1], log_scale


def invert_map(kind: NodeMap, z: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """y and log y' of each value z; undoes :func:`apply_map`."""
    if kind == "mixture":
        return mixture_from_normal(z, values)
    log_scale = LOG_SCALE_BOUND * torch.tanh(values[..., 0] / LOG_SCALE_BOUND)
    return (z - values[..., 1]) * torch.exp(-log_scale), -log_scale


class GraphCoupling(GraphTransform):
    r"""Transform one feature of each node, given the other features of all nodes.

    .. math:: z_{n,m} = T\big(x_{n,m};\, \mathrm{net}(x_{\cdot,\ne m}, A)_n\big), \qquad
              \log|\det J| = \sum_n \log T'(x_{n,m})

    With a net that is equivariant to the order of the nodes, so is the layer.
    Shapes: see :class:`GraphTransform`; the net gives ``(B, N, P)`` with P as :func:`num_parameters` has it.
    Raises: ShapeError for fewer than two features, or a feature that is not there.
    Source: Liu et al., Graph Normalizing Flows, 2019.
    """

    def __init__(
        self, features: int, transformed_dim: int, net: nn.Module, *, node_map: NodeMap = "affine", components: int = 8
    ) -> None:
        super().__init__((None, features))
        check_transformed_dim(features, transformed_dim)
        self.transformed_dim, self.net, self.node_map = transformed_dim, net, node_map
        self.initial_params = nn.Parameter(initial_params(node_map, components))

    def forward(self, x: Tensor, context: Graph | None = None) -> tuple[Tensor, Tensor]:
        graph = context or COMPLETE
        weights = graph.node_weights(x)
        z, log_derivative = apply_map(self.node_map, x[..., self.transformed_dim], self._condition(x, graph))
        return replace_feature(x, self.transformed_dim, z, weights), (weights * log_derivative).sum(1)

    def inverse(self, z: Tensor, context: Graph | None = None) -> tuple[Tensor, Tensor]:
        graph = context or COMPLETE
        weights = graph.node_weights(z)
        x, log_derivative = invert_map(self.node_map, z[..., self.transformed_dim], self._condition(z, graph))
        return replace_feature(z, self.transformed_dim, x, weights), (weights * log_derivative).sum(1)

    def _condition(self, x: Tensor, graph: Graph) -> Tensor:
        kept = torch.cat([x[..., : self.transformed_dim], x[..., self.transformed_dim + 1 :]], dim=-1)
        return self.net(kept, graph).to(x.dtype) + self.initial_params


def replace_feature(x: Tensor, feature: int, values: Tensor, weights: Tensor) -> Tensor:
    """x with one feature replaced at the nodes that exist."""
    values = torch.where(weights > 0, values, x[..., feature])
    return torch.cat([x[..., :feature], values[..., None], x[..., feature + 1 :]], dim=-1)


def check_transformed_dim(features: int, transformed_dim: int) -> None:
    """Raise ShapeError unless there is a feature to move and another to keep."""
    if features < 2:
        raise ShapeError(f"expected at least two features, one to move and one to keep; got {features}")
    if not 0 <= transformed_dim < features:
        raise ShapeError(f"expected a feature between 0 and {features - 1}; got {transformed_dim}")
