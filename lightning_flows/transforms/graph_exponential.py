"""The graph convolution exponential."""

import torch
from torch import Tensor, nn

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
            raise ValueError(f"expected max_neighbours of at least 1; got {max_neighbours}")
        self.closed_form = closed_form
        self.bounds = (1 / max_neighbours, 1.0)
        self.weight = nn.Parameter(0.1 * torch.randn(2, features, features) / features)  # θ₀ and θ₁

    def matrices(self) -> tuple[Tensor, Tensor]:
        """θ₀ and θ₁, each scaled down to its bound if its norm is above it."""
        norms = torch.linalg.matrix_norm(self.weight, ord=2)
        scale = 1 / (norms / norms.new_tensor(self.bounds)).clamp(min=1)
        theta0, theta1 = scale[:, None, None] * self.weight
        return theta0, theta1

    def forward(self, x: Tensor, context: Graph | None = None) -> tuple[Tensor, Tensor]:
        """exp(M) X."""
        return self._exponential(x, context, sign=1.0)

    def inverse(self, z: Tensor, context: Graph | None = None) -> tuple[Tensor, Tensor]:
        """exp(−M) Z."""
        return self._exponential(z, context, sign=-1.0)

    def _exponential(self, x: Tensor, context: Graph | None, *, sign: float) -> tuple[Tensor, Tensor]:
        graph, weights = self.check(x, context)
        with full_precision(x):
            theta0, theta1 = (sign * theta for theta in self.matrices())
            if graph.adjacency is None and self.closed_form:
                z = _complete(x, theta0, theta1, weights if graph.mask is not None else weights[:1])
            else:
                z = self._series(x, theta0, theta1, graph, weights)
            return keep_padding(z, x, graph), weights.sum(1) * theta0.trace()

    def _series(self, x: Tensor, theta0: Tensor, theta1: Tensor, graph: Graph, weights: Tensor) -> Tensor:
        adjacency = graph.adjacency
        if adjacency is None:
            adjacency = 1 - torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        pairs = weights[:, :, None] * weights[:, None, :]
        smoothing = normalized_adjacency(adjacency.to(x.dtype) * pairs)
        return linear_exponential(
            lambda term: term @ theta0 + smoothing @ term @ theta1,
            weights[..., None] * x,
            norm_bound=sum(self.bounds),
        )


def _complete(x: Tensor, theta0: Tensor, theta1: Tensor, weights: Tensor) -> Tensor:
    """The closed form; ``weights`` ``(B or 1, N)`` is zero at padding, one row where all graphs have the same size."""
    count = weights.sum(1)[:, None, None].clamp(min=1)
    mean = (weights[..., None] * x).sum(1, keepdim=True) / count
    others = (count - 1).clamp(min=1)
    of_mean = theta0 + torch.where(count > 1, theta1, 0.0)
    exponentials = torch.linalg.matrix_exp(torch.stack([of_mean, theta0 - theta1 / others]))
    return mean @ exponentials[0] + (x - mean) @ exponentials[1]
