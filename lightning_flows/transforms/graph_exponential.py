"""The graph convolution exponential."""

import torch
from torch import Tensor, nn

from lightning_flows.errors import ShapeError
from lightning_flows.functional.graphs import Graph, normalized_adjacency
from lightning_flows.functional.precision import full_precision
from lightning_flows.functional.series import linear_exponential
from lightning_flows.transforms.graph_base import GraphTransform, keep_padding


class GraphExponential(GraphTransform):
    r"""Exponential of a linear graph convolution of node features X ``(N, F)``.

    .. math:: Z = \exp(M)\,X, \qquad M X = X\theta_0 + D^{-1/2} A D^{-1/2} X \theta_1, \qquad
              \log|\det J| = N \operatorname{tr} \theta_0

    The inverse is the exponential of −M. Norms are held at :math:`\|\theta_0\| \le 1/d`, with d the largest number of
    neighbours that is expected, and :math:`\|\theta_1\| \le 1`, so that the power series converges fast.

    On complete graphs D^{-1/2} A D^{-1/2} has two eigenvalues, 1 for the mean over nodes and −1/(N−1) for what deviates
    from it, so that the exponential has a closed form, which is used there:

    .. math:: Z = \bar X \exp(\theta_0 + \theta_1) + (X - \bar X) \exp\big(\theta_0 - \tfrac{1}{N-1} \theta_1\big)

    A node without neighbours has the degree 0 and is multiplied by exp θ₀. Shapes, errors: see :class:`GraphTransform`.

    Args:
        features: F.
        max_neighbours: d.
        closed_form: False takes the series on complete graphs too.
    Source: section 3.1 of the paper.
    """

    def __init__(self, features: int, *, max_neighbours: int, closed_form: bool = True) -> None:
        super().__init__(features)
        if max_neighbours < 1:
            raise ShapeError(f"expected max_neighbours of at least 1; got {max_neighbours}")
        self.closed_form = closed_form
        self.bounds = (1 / max_neighbours, 1.0)
        self.weight = nn.Parameter(0.1 * torch.randn(2, features, features) / features)  # θ₀ and θ₁

    def matrices(self) -> Tensor:
        """θ₀ and θ₁ ``(2, F, F)``, each scaled down to its bound if its norm is above it."""
        bounds = self.weight.new_tensor(self.bounds)
        norms = torch.linalg.matrix_norm(self.weight, ord=2)
        return self.weight * (bounds / torch.maximum(norms, bounds))[:, None, None]

    def forward(self, x: Tensor, context: Graph | None = None) -> tuple[Tensor, Tensor]:
        """exp(M) X."""
        return self._exponential(x, context, sign=1.0)

    def inverse(self, z: Tensor, context: Graph | None = None) -> tuple[Tensor, Tensor]:
        """exp(−M) Z."""
        return self._exponential(z, context, sign=-1.0)

    def _exponential(self, x: Tensor, context: Graph | None, *, sign: float) -> tuple[Tensor, Tensor]:
        graph, weights = self.check(x, context)
        with full_precision(x):
            thetas = sign * self.matrices()
            if graph.adjacency is not None or not self.closed_form:
                z = self._series(x, thetas, graph, weights)
            elif graph.mask is not None:
                z = _complete_with_padding(x, thetas, weights)
            else:
                z = _complete(x, thetas)
            return keep_padding(z, x, graph), weights.sum(1) * thetas[0].trace()

    def _series(self, x: Tensor, thetas: Tensor, graph: Graph, weights: Tensor) -> Tensor:
        adjacency = graph.adjacency
        if adjacency is None:
            adjacency = 1 - torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        pairs = weights[:, :, None] * weights[:, None, :]
        smoothing = normalized_adjacency(adjacency.to(x.dtype) * pairs)
        return linear_exponential(
            lambda term: term @ thetas[0] + smoothing @ term @ thetas[1],
            weights[..., None] * x,
            norm_bound=sum(self.bounds),
        )


def _complete(x: Tensor, thetas: Tensor) -> Tensor:
    """The closed form for graphs of one size: few operations, as they are small."""
    others = x.shape[1] - 1
    eigenvalues = [[1.0, 1.0], [1.0, -1 / others]] if others else [[1.0, 0.0]] * 2
    combined = torch.tensordot(thetas.new_tensor(eigenvalues), thetas, dims=1)
    of_mean, of_rest = torch.linalg.matrix_exp(combined).unbind(0)
    return x @ of_rest + x.mean(1, keepdim=True) @ (of_mean - of_rest)


def _complete_with_padding(x: Tensor, thetas: Tensor, weights: Tensor) -> Tensor:
    """The closed form for each graph's own number of nodes; ``weights`` ``(B, N)`` is zero at padding."""
    count = weights.sum(1)[:, None, None].clamp(min=1)
    mean = (weights[..., None] * x).sum(1, keepdim=True) / count
    of_mean = thetas[0] + torch.where(count > 1, thetas[1], 0.0)
    of_rest = thetas[0] - thetas[1] / (count - 1).clamp(min=1)
    of_mean, of_rest = torch.linalg.matrix_exp(torch.stack([of_mean, of_rest])).unbind(0)
    return x @ of_rest + mean @ (of_mean - of_rest)
