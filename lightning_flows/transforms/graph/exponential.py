"""The graph convolution exponential, alone and before each of several transforms."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from lightning_flows.errors import UsageError, check_sizes
from lightning_flows.functional.graphs import COMPLETE, Graph, normalized_adjacency
from lightning_flows.functional.norms import matrix_norm_bound
from lightning_flows.functional.precision import full_precision
from lightning_flows.functional.series import linear_exponential, matrix_exponential
from lightning_flows.transforms.base import Reported, Result, Transform
from lightning_flows.transforms.graph.base import GraphTransform, keep_padding

NodeMaps = list[Callable[[Tensor], Tensor]]
"""Functions of node features ``(B, N, F)``."""


class GraphExponential(GraphTransform):
    r"""Exponential of a linear graph convolution of node features X ``(N, F)``.

    .. math:: Z = \exp(M)\,X, \qquad M X = X\theta_0 + S X \theta_1, \qquad
              \log|\det J| = N \operatorname{tr} \theta_0 + \operatorname{tr} S\, \operatorname{tr} \theta_1

    with :math:`S = D^{-1/2} A D^{-1/2}` from :func:`normalized_adjacency`; its trace is 0 without self-loops.

    The inverse is the exponential of −M. Norms are bounded by :math:`\|\theta_0\| \le 1/d`, with d the largest
    expected number of neighbors, and :math:`\|\theta_1\| \le 1`, so that the power series converges fast.

    On complete graphs S has two eigenvalues, 1 for the mean over nodes and −1/(N−1) for deviations from it, and the
    exponential has a closed form:

    .. math:: Z = \bar X \exp(\theta_0 + \theta_1) + (X - \bar X) \exp\big(\theta_0 - \tfrac{1}{N-1} \theta_1\big)

    A node without neighbors has degree 0 and is multiplied by exp θ₀. Shapes, errors: see :class:`GraphTransform`.

    Args:
        features: F.
        max_neighbors: d.
        closed_form: if False, use the series on complete graphs as well.
    Source: section 3.1 of the paper.

    >>> layer = GraphExponential(2, max_neighbors=8)
    >>> z, log_det = layer(torch.randn(4, 9, 2))  # complete graphs
    >>> theta, _ = layer.matrices()
    >>> torch.allclose(log_det, 9 * theta.trace(), atol=1e-4)
    True
    """

    limits: Tensor

    def __init__(self, features: int, *, max_neighbors: int, closed_form: bool = True) -> None:
        super().__init__((None, features))
        check_sizes(max_neighbors=max_neighbors)
        self.closed_form, self.max_neighbors = closed_form, max_neighbors
        self.register_buffer("limits", torch.tensor([1 / max_neighbors, 1.0]), persistent=False)
        self.weight = nn.Parameter(0.1 * torch.randn(2, features, features) / features)  # θ₀ and θ₁

    def matrices(self) -> Tensor:
        """Return θ₀ and θ₁ ``(2, F, F)``, each scaled down if the bound on its norm exceeds its limit."""
        return _bounded(self.weight, self.limits)

    def forward(self, x: Tensor, context: Graph | None = None) -> Result:
        (exponential,), log_det = exponentials([self], x, context, sign=1.0)
        return exponential(x), log_det

    def inverse(self, z: Tensor, context: Graph | None = None) -> Result:
        (exponential,), log_det = exponentials([self], z, context, sign=-1.0)
        return exponential(z), log_det

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, max_neighbors={self.max_neighbors}"


class InterleavedExponentials(GraphTransform):
    r"""A graph convolution exponential before each of several transforms of nodes.

    .. math:: z = f_K(\exp(M_K) \cdots f_1(\exp(M_1)\, x))

    Faster than a :class:`Compose` of all of them, because the matrices of all exponentials are evaluated in one batch.
    Shapes, errors: see :class:`GraphTransform`.

    Args:
        features: F.
        transforms: the f, which preserve the number of features.
        max_neighbors: see :class:`GraphExponential`.
    Source: section 6.3 of the paper, where exponentials precede couplings.

    >>> from lightning_flows.nets import GraphAttentionNet
    >>> from lightning_flows.transforms import GraphCoupling
    >>> couplings = [GraphCoupling(2, feature, GraphAttentionNet(1, 2)) for feature in (0, 1)]
    >>> layer = InterleavedExponentials(2, couplings, max_neighbors=8)
    >>> x = torch.randn(4, 9, 2)
    >>> torch.allclose(layer.inverse(layer(x)[0])[0], x, atol=1e-4)
    True
    """

    def __init__(self, features: int, transforms: Sequence[Transform], *, max_neighbors: int) -> None:
        super().__init__((None, features))
        if not transforms:
            raise UsageError("expected at least one transform; got none")
        self.exponentials = nn.ModuleList(GraphExponential(features, max_neighbors=max_neighbors) for _ in transforms)
        self.transforms = nn.ModuleList(transforms)

    def forward(self, x: Tensor, context: Graph | None = None) -> Result:
        return self.forward_reported(x, context)[:2]

    def inverse(self, z: Tensor, context: Graph | None = None) -> Result:
        return self.inverse_reported(z, context)[:2]

    def forward_reported(self, x: Tensor, context: Graph | None = None) -> Reported:
        maps, total = self._maps(x, context, sign=1.0)
        reports: list[NamedTuple] = []
        for exponential, transform in zip(maps, self.transforms, strict=True):
            x, log_det, found = transform.forward_reported(exponential(x), context)
            total, reports = total + log_det, reports + found
        return x, total, reports

    def inverse_reported(self, z: Tensor, context: Graph | None = None) -> Reported:
        maps, total = self._maps(z, context, sign=-1.0)
        reports: list[NamedTuple] = []
        for exponential, transform in zip(reversed(maps), reversed(self.transforms), strict=True):
            z, log_det, found = transform.inverse_reported(z, context)
            z, total, reports = exponential(z), total + log_det, reports + found
        return z, total, reports

    def _maps(self, x: Tensor, context: Graph | None, *, sign: float) -> tuple[NodeMaps, Tensor]:
        return exponentials(cast(Sequence[GraphExponential], self.exponentials), x, context, sign=sign)


def exponentials(
    layers: Sequence[GraphExponential], x: Tensor, context: Graph | None, *, sign: float
) -> tuple[NodeMaps, Tensor]:
    """Return the maps exp(±M) of layers with equal options, and the sum of their log-determinants ``(B,)``.

    Terms that depend only on parameters are evaluated for all layers in one batch, since launching an operation on an
    F×F matrix takes much longer than the operation itself. The maps apply to tensors of x's shape and dtype.
    """
    first = layers[0]
    graph = context or COMPLETE
    weights, norm_bound = graph.node_weights(x), 1 / first.max_neighbors + 1.0
    with full_precision(x):
        thetas = sign * _bounded(torch.stack([layer.weight for layer in layers]), first.limits)
        traces = thetas.diagonal(dim1=-2, dim2=-1).sum((0, 2))
        log_det = weights.sum(1) * traces[0]
        if graph.adjacency is None and first.closed_form:
            functions = _closed_forms(thetas, x, graph, weights, norm_bound)
        else:
            smoothing = _smoothing(x, graph)
            log_det = log_det + smoothing.diagonal(dim1=-2, dim2=-1).sum(-1) * traces[1]
            functions = _series(thetas, smoothing, weights, norm_bound)

    def masked(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        with full_precision(x):
            return keep_padding(function(x), x, graph)

    return [partial(masked, function) for function in functions], log_det


def _bounded(weight: Tensor, limits: Tensor) -> Tensor:
    """Matrices ``(..., 2, F, F)``, each scaled down if the bound on its norm exceeds its limit."""
    return weight * (limits / torch.maximum(matrix_norm_bound(weight), limits))[..., None, None]


def _closed_forms(thetas: Tensor, x: Tensor, graph: Graph, weights: Tensor, norm_bound: float) -> NodeMaps:
    """Closed forms on complete graphs; with padding, one matrix per graph, for its number of nodes."""
    count = weights.sum(1) if graph.mask is not None else weights.new_full((1,), x.shape[1])
    count, others = count.clamp(min=1), count - 1
    eigenvalues = torch.stack([(others > 0).to(x.dtype), -1 / others.clamp(min=1)], dim=-1)[..., None, None]
    thetas = thetas[:, :, None, None]
    exponents = thetas[:, 0] + eigenvalues * thetas[:, 1]
    exp_mean, exp_residual = matrix_exponential(exponents, norm_bound=norm_bound).unbind(2)
    difference = exp_mean - exp_residual
    if graph.mask is None:
        exp_residual, difference = exp_residual[:, 0], difference[:, 0]

    def apply(residual: Tensor, difference: Tensor, x: Tensor) -> Tensor:
        if graph.mask is None:
            mean = x.mean(1, keepdim=True)
        else:
            mean = (weights[..., None] * x).sum(1, keepdim=True) / count[:, None, None]
        return x @ residual + mean @ difference

    return [partial(apply, *matrices) for matrices in zip(exp_residual.unbind(0), difference.unbind(0), strict=True)]


def _smoothing(x: Tensor, graph: Graph) -> Tensor:
    """S ``(B or 1, N, N)`` in x's dtype, zero at padding."""
    if graph.adjacency is None:
        graph = Graph(1 - torch.eye(x.shape[1], dtype=x.dtype, device=x.device), graph.mask)
    return normalized_adjacency(cast(Tensor, graph.edges(x.dtype)).reshape(-1, x.shape[1], x.shape[1]))


def _series(thetas: Tensor, smoothing: Tensor, weights: Tensor, norm_bound: float) -> NodeMaps:
    def apply(theta: Tensor, x: Tensor) -> Tensor:
        return linear_exponential(
            lambda term: term @ theta[0] + smoothing @ term @ theta[1], weights[..., None] * x, norm_bound=norm_bound
        )

    return [partial(apply, theta) for theta in thetas.unbind(0)]
