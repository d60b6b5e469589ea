"""Activation normalization of node features."""

import torch
from torch import Tensor

from lightning_flows.functional.graphs import COMPLETE, Graph
from lightning_flows.transforms.actnorm import DataInitialized
from lightning_flows.transforms.graph.base import GraphTransform, keep_padding


class GraphActNorm(DataInitialized, GraphTransform):
    r"""Shift and scale each feature, the same for all nodes; initialized by the first training batch.

    .. math:: z_{n} = (x_{n} - b)\,e^{-s}, \qquad \log|\det J| = -N \sum_f s_f

    For the initialization see :class:`DataInitialized`. Shapes, errors: see :class:`GraphTransform`.
    """

    def __init__(self, features: int) -> None:
        super().__init__(features, (None, features))

    def forward(self, x: Tensor, context: Graph | None = None) -> tuple[Tensor, Tensor]:
        graph = context or COMPLETE
        weights = graph.node_weights(x)
        self.initialize(x, weights, dim=2)
        z = (x - self.shift) * torch.exp(-self.log_scale)
        return keep_padding(z, x, graph), -weights.sum(1) * self.log_scale.sum()

    def inverse(self, z: Tensor, context: Graph | None = None) -> tuple[Tensor, Tensor]:
        graph = context or COMPLETE
        x = z * torch.exp(self.log_scale) + self.shift
        return keep_padding(x, z, graph), graph.node_weights(z).sum(1) * self.log_scale.sum()
