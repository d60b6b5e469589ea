"""Activation normalization of node features."""

import torch
from torch import Tensor, nn

from lightning_flows.functional.graphs import Graph
from lightning_flows.functional.ranks import sum_over_ranks
from lightning_flows.transforms.graph.base import GraphTransform, keep_padding
from lightning_flows.transforms.image.actnorm import InitializedOnce, shift_and_log_scale


class GraphActNorm(InitializedOnce, GraphTransform):
    r"""Shift and scale each feature, the same for all nodes; set by the first training batch.

    .. math:: z_{n} = (x_{n} - b)\,e^{-s}, \qquad \log|\det J| = -N \sum_f s_f

    For the start and its flag see :class:`ActNorm`. Shapes, errors: see :class:`GraphTransform`.
    """

    def __init__(self, features: int) -> None:
        super().__init__(features)
        self.shift = nn.Parameter(torch.zeros(features))
        self.log_scale = nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor, context: Graph | None = None) -> tuple[Tensor, Tensor]:
        """(x − b) e^{−s}."""
        graph, weights = self.check(x, context)
        if self.training and len(x) and not self.is_initialized:
            self._initialize(x, weights)
        z = (x - self.shift) * torch.exp(-self.log_scale)
        return keep_padding(z, x, graph), -weights.sum(1) * self.log_scale.sum()

    def inverse(self, z: Tensor, context: Graph | None = None) -> tuple[Tensor, Tensor]:
        """Undo: z e^{s} + b."""
        graph, weights = self.check(z, context)
        x = z * torch.exp(self.log_scale) + self.shift
        return keep_padding(x, z, graph), weights.sum(1) * self.log_scale.sum()

    @torch.no_grad()
    def _initialize(self, x: Tensor, weights: Tensor) -> None:
        count = sum_over_ranks(weights.sum())
        mean = sum_over_ranks((weights[..., None] * x).sum((0, 1))) / count.clamp(min=1)
        squares = sum_over_ranks((weights[..., None] * (x - mean).square()).sum((0, 1)))
        shift, log_scale = shift_and_log_scale(count, mean, squares)
        self.shift.copy_(shift)
        self.log_scale.copy_(log_scale)
        self.set_initialized()
