"""Attention over the nodes of a graph."""

import torch
from torch import Tensor, nn

from lightning_flows.functional.graphs import COMPLETE, Graph
from lightning_flows.nets.attention import AttentionSizes

FREQUENCIES = (1.0, 2.0, 4.0, 8.0)


class NodeEmbedding(nn.Module):
    """A small net of each node's features, their sines and cosines: ``(B, N, F) -> (B, N, width)``."""

    frequencies: Tensor

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.tensor(FREQUENCIES), persistent=False)
        inputs = features * (1 + 2 * len(FREQUENCIES))
        self.net = nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        waves = (x[..., None] * self.frequencies).flatten(-2)
        return self.net(torch.cat([x, waves.sin(), waves.cos()], dim=-1))


class GraphAttentionNet(nn.Module):
    r"""Outputs for each node from the features of all nodes that it is connected to; equivariant to their order.

    .. math:: \operatorname{attention}(h)_n = \sum_m \operatorname{softmax}_m\big(q_n^T k_m/\sqrt d\big)\, v_m

    m are the nodes that n is connected to; q, k and v are linear functions of the normalized h. Several such heads and
    a net per node alternate, each with a residual connection.

    The last layer is initialized near zero. Shapes: x ``(B, N, in_features)``; returns ``(B, N, out_features)``.

    >>> net = GraphAttentionNet(2, 5)
    >>> x, order = torch.randn(4, 9, 2), torch.randperm(9)
    >>> torch.allclose(net(x[:, order]), net(x)[:, order], atol=1e-5)
    True
    """

    def __init__(self, in_features: int, out_features: int, sizes: AttentionSizes = AttentionSizes()) -> None:
        super().__init__()
        self.embed, self.blocks = NodeEmbedding(in_features, sizes.width), sizes.blocks()
        self.out = small_initialized(nn.Linear(sizes.width, out_features))

    def forward(self, x: Tensor, graph: Graph = COMPLETE) -> Tensor:
        h, attn_mask = self.embed(x), graph.attention_mask()
        for block in self.blocks:
            h = block(h, attn_mask)
        return self.out(h)


class SetAutoregressiveNet(nn.Module):
    r"""Outputs for each node from the conditioning features of all nodes and the values of the nodes before it.

    .. math:: y_i = \mathrm{net}(\text{conditioned}, v_1, \dots, v_{i-1})_i

    The conditioning features are encoded by attention over the graph; then each node attends to the nodes up to itself,
    with the value of the previous one: output i depends on ``values[:, :i]``, in the order of the nodes.

    Shapes: conditioned ``(B, N, in_features)``, values ``(B, N)``; returns ``(B, N, out_features)``.

    >>> net = SetAutoregressiveNet(1, 3)
    >>> conditioned, values = torch.randn(1, 5, 1), torch.randn(1, 5)
    >>> encoded = net.encode(conditioned)  # output i depends on the values before i
    >>> output = lambda values: net.decode(encoded, conditioned, values)[0, :, 0]
    >>> (torch.autograd.functional.jacobian(output, values)[:, 0] != 0).int()
    tensor([[0, 0, 0, 0, 0],
            [1, 0, 0, 0, 0],
            [1, 1, 0, 0, 0],
            [1, 1, 1, 0, 0],
            [1, 1, 1, 1, 0]], dtype=torch.int32)
    """

    def __init__(self, in_features: int, out_features: int, sizes: AttentionSizes = AttentionSizes()) -> None:
        super().__init__()
        width = sizes.width
        self.embed, self.embed_value = NodeEmbedding(in_features, width), NodeEmbedding(in_features + 1, width)
        self.start = nn.Parameter(torch.zeros(width))
        self.encoder, self.decoder = sizes.blocks(), sizes.blocks()
        self.out = small_initialized(nn.Linear(width, out_features))

    def encode(self, conditioned: Tensor, graph: Graph = COMPLETE) -> Tensor:
        """Return an encoding of each node's conditioning features, ``(B, N, width)``."""
        h, attn_mask = self.embed(conditioned), graph.attention_mask()
        for block in self.encoder:
            h = block(h, attn_mask)
        return h

    def decode(self, encoded: Tensor, conditioned: Tensor, values: Tensor) -> Tensor:
        """Return the outputs given the encoded nodes and the values before each."""
        before = self.embed_value(torch.cat([conditioned, values[..., None]], dim=-1))[:, :-1]
        h = encoded + torch.cat([self.start.expand(encoded.shape[0], 1, -1), before], dim=1)
        attn_mask = torch.ones(1, *values.shape[1:] * 2, dtype=torch.bool, device=values.device).tril()
        for block in self.decoder:
            h = block(h, attn_mask)
        return self.out(h)


@torch.no_grad()
def small_initialized(layer: nn.Linear) -> nn.Linear:
    """Initialize a layer to outputs near zero."""
    layer.weight.mul_(0.01)
    layer.bias.zero_()
    return layer
