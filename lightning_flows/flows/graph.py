"""Flows over the node features of graphs."""

from collections.abc import Sequence

from torch import Tensor

from lightning_flows.distributions import NodeGaussian
from lightning_flows.errors import ShapeError, check_sizes
from lightning_flows.flows.flow import Flow
from lightning_flows.functional.graphs import Graph, check_nodes
from lightning_flows.functional.value_maps import ValueMap, num_map_parameters
from lightning_flows.nets import MLP, AttentionSizes, GraphAttentionNet
from lightning_flows.transforms import (
    ActNorm,
    AffineCoupling,
    Compose,
    Conv1x1,
    GraphActNorm,
    GraphCoupling,
    InterleavedExponentials,
    Reshape,
    SetAutoregressiveCoupling,
    Transform,
)
from lightning_flows.transforms.base import check_matches


class GraphFlow(Flow):
    r"""Density of node features X, with standard normal latents at the nodes that exist.

    .. math:: \log p(X) = \sum_n \log \mathcal N(z_n; 0, I) + \log|\det \partial Z/\partial X|

    The context is a :class:`Graph`, or None for complete graphs without padding. Padding is ignored, even if it is
    NaN, and is 0 in latents and samples. The density of a graph with a non-finite edge is NaN.

    Args:
        transform: bijection of node features.
        event_shape: (N, F), where N is the number of nodes of samples.

    Shapes: x and its latent ``(B, N, F)``; densities ``(B,)`` in nats.

    >>> import torch
    >>> from lightning_flows.transforms import GraphExponential
    >>> flow = GraphFlow(GraphExponential(2, max_neighbors=8), (9, 2)).eval()
    >>> mask = torch.arange(9) < torch.tensor([[9], [4]])  # graphs of nine and of four nodes
    >>> flow(torch.randn(2, 9, 2), Graph(mask=mask)).shape
    torch.Size([2])
    >>> flow.sample(2, Graph(mask=mask))[1, 4:].abs().max().item()  # padding
    0.0
    """

    def __init__(self, transform: Transform, event_shape: Sequence[int]) -> None:
        super().__init__(transform, NodeGaussian(event_shape), event_shape=event_shape)

    def _check(self, x: Tensor, shape: tuple[int, ...], context: Graph | None) -> Tensor:
        check_matches(x, self)
        graph = check_nodes(x, shape[-1], context)
        if graph.mask is not None:
            x = x.masked_fill(~graph.mask[..., None], 0)
        edges = graph.edges(x.dtype)  # attention would treat NaN as an edge; values stay on the device
        return x if edges is None else x + 0 * edges.sum((-2, -1)).reshape(-1, 1, 1)


class GraphCouplingFlow(GraphFlow):
    r"""Baseline that treats all nodes as one vector: [actnorm, linear layer, affine coupling] steps.

    .. math:: y = W\,\frac{x - b}{e^s}, \qquad z_1 = y_1, \quad z_2 = y_2\,e^{\ell(y_1)} + t(y_1)

    x are the NF values of all nodes.

    It is not equivariant, ignores edges, and only supports graphs of one size.

    Args:
        event_shape: (N, F).
        num_steps: number of couplings.
        width: width of their nets.
        depth: number of hidden layers.

    Shapes: x ``(B, N, F)``.
    Raises: ShapeError for an event_shape other than (N, F), and for graphs with a mask.
    Source: section 6.3 of the paper.

    >>> import torch
    >>> flow = GraphCouplingFlow((4, 2), num_steps=2, width=8).eval()
    >>> samples, log_prob = flow.sample_and_log_prob(5)
    >>> samples.shape, torch.allclose(flow(samples), log_prob, atol=1e-3)
    (torch.Size([5, 4, 2]), True)
    """

    def __init__(self, event_shape: Sequence[int], *, num_steps: int = 8, width: int = 128, depth: int = 2) -> None:
        nodes, features = _nodes_and_features(event_shape, num_steps)
        channels = nodes * features
        layers: list[Transform] = [Reshape(event_shape, (channels, 1, 1))]
        for _ in range(num_steps):
            net = MLP(channels // 2, 2 * (channels - channels // 2), width=width, depth=depth)
            layers += [ActNorm(channels), Conv1x1(channels), AffineCoupling(channels, net)]
        super().__init__(Compose([*layers, Reshape((channels, 1, 1), event_shape)]), event_shape)


class GraphNormalizingFlow(GraphFlow):
    r"""Couplings conditioned by attention over the graph, each of which transforms one feature; equivariant.

    .. math:: z_{n,m} = T\big(x_{n,m};\, \mathrm{net}(x_{\cdot,\ne m}, A)_n\big)

    m is the feature that a layer transforms. With ``exponential``, :math:`X \mapsto \exp(M) X` comes before each layer.

    Args:
        event_shape: (N, F).
        exponential: insert a graph convolution exponential before every coupling.
        max_neighbors: largest number of neighbors, which bounds the exponential's norm; default: N − 1.
        num_steps: number of times that each feature is transformed.
        node_map: scale and shift (``affine``), the distribution function of a mixture, or a ``spline``.
        components: number of components of the mixture, or of bins of the spline.
        net: sizes of the attention nets.

    Shapes: x ``(B, N, F)``, for any N.
    Raises: ShapeError for an event_shape other than (N, F), or fewer than two features; UsageError for invalid net
    sizes.
    Source: Liu et al., 2019; section 6.3 of the paper.

    >>> import torch
    >>> net = AttentionSizes(width=8, num_blocks=1, num_heads=2)
    >>> flow = GraphNormalizingFlow((9, 2), num_steps=1, net=net).eval()
    >>> x, order = torch.randn(4, 9, 2), torch.randperm(9)
    >>> torch.allclose(flow(x), flow(x[:, order]), atol=1e-3), flow(torch.randn(4, 30, 2)).shape
    (True, torch.Size([4]))
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        exponential: bool = True,
        max_neighbors: int | None = None,
        num_steps: int = 4,
        node_map: ValueMap = "affine",
        components: int = 8,
        net: AttentionSizes = AttentionSizes(),
    ) -> None:
        nodes, features = _nodes_and_features(event_shape, num_steps)
        if max_neighbors is None:
            max_neighbors = max(1, nodes - 1)
        couplings: list[Transform] = []
        for moved in list(range(features)) * num_steps:
            attention = GraphAttentionNet(features - 1, num_map_parameters(node_map, components), net)
            couplings.append(GraphCoupling(features, moved, attention, node_map=node_map, components=components))
        if exponential:
            couplings = [InterleavedExponentials(features, couplings, max_neighbors=max_neighbors)]
        super().__init__(Compose([GraphActNorm(features), *couplings]), event_shape)


class SetAutoregressiveFlow(GraphFlow):
    r"""Set-autoregressive couplings, each of which transforms one feature; equivariant. An extension of section 6.3.

    .. math:: z_{\sigma(i),m} = T\big(x_{\sigma(i),m};\,
              \mathrm{net}(x_{\cdot,\ne m}, x_{\sigma(1),m}, \dots, x_{\sigma(i-1),m})_i\big)

    m is the feature that a layer transforms; σ orders the nodes by another one.

    Args:
        event_shape: (N, F).
        num_steps: number of times that each feature is transformed.
        components: number of components of the mixture whose distribution function transforms a feature.
        net: sizes of the attention nets.

    Shapes: x ``(B, N, F)``, for any N.
    Raises: ShapeError for an event_shape other than (N, F), or fewer than two features; UsageError for invalid net
    sizes.

    >>> import torch
    >>> flow = SetAutoregressiveFlow((9, 2), net=AttentionSizes(width=8, num_blocks=1, num_heads=2)).eval()
    >>> x, order = torch.randn(4, 9, 2), torch.randperm(9)
    >>> torch.allclose(flow(x), flow(x[:, order]), atol=1e-3), flow.sample(3).shape
    (True, torch.Size([3, 9, 2]))
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        num_steps: int = 1,
        components: int = 8,
        net: AttentionSizes = AttentionSizes(),
    ) -> None:
        _, features = _nodes_and_features(event_shape, num_steps)
        # the last feature first, so that the first layer orders the nodes by the first feature
        couplings = [
            SetAutoregressiveCoupling(features, moved, components=components, sizes=net)
            for moved in list(reversed(range(features))) * num_steps
        ]
        super().__init__(Compose([GraphActNorm(features), *couplings]), event_shape)


def _nodes_and_features(event_shape: Sequence[int], num_steps: int) -> tuple[int, int]:
    """Return N and F. Raises: ShapeError for other events, such as images; UsageError for ``num_steps`` below 1."""
    if len(event_shape) != 2:
        raise ShapeError(
            f"expected graphs of shape (N, F); got {tuple(event_shape)}: use data of graphs, such as GraphMoGDataModule"
        )
    check_sizes(num_steps=num_steps)
    nodes, features = event_shape
    return nodes, features
