"""Which nodes attend to which, in float64; zeros are exact, because softmax gives masked nodes zero weight."""

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian

from lightning_flows.errors import UsageError
from lightning_flows.functional.graphs import Graph
from lightning_flows.nets import AttentionSizes, GraphAttentionNet
from lightning_flows.nets.attention import AttentionBlock
from lightning_flows.nets.graph_attention import NodeEmbedding, SetAutoregressiveNet

NODES = 5
PATH = torch.diag(torch.ones(NODES - 1), 1) + torch.diag(torch.ones(NODES - 1), -1)
MASK = torch.tensor([[True, True, False, True, True]])
GRAPHS = {"complete": Graph(), "path": Graph(PATH), "padding": Graph(None, MASK), "both": Graph(PATH, MASK)}
ON_GRAPHS = pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS.keys())


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def depends(function, x: Tensor) -> Tensor:
    """Exact dependence of output nodes on input nodes: ``(N, N)`` for outputs and inputs ``(1, N, ...)``."""
    found = jacobian(function, x).reshape(NODES, -1, NODES, x[0, 0].numel())
    return (found != 0).any(3).any(1)


@ON_GRAPHS
@pytest.mark.parametrize("num_blocks", [1, 2])
def test_each_block_reaches_one_neighbor_further(graph, num_blocks):
    net = GraphAttentionNet(2, 3, AttentionSizes(8, num_blocks, num_heads=2)).double()
    attn_mask = graph.attention_mask()
    attn_mask = torch.ones(NODES, NODES) if attn_mask is None else attn_mask[0].float()
    expected = torch.linalg.matrix_power(attn_mask, num_blocks) > 0
    assert torch.equal(depends(lambda x: net(x, graph), draw(1, NODES, 2)), expected)


@ON_GRAPHS
def test_equivariance(graph):
    net, x = GraphAttentionNet(2, 3, AttentionSizes(8, num_heads=2)).double(), draw(1, NODES, 2)
    order = torch.tensor([3, 0, 4, 2, 1])
    adjacency = None if graph.adjacency is None else graph.adjacency[order][:, order]
    permuted = Graph(adjacency, None if graph.mask is None else graph.mask[:, order])
    torch.testing.assert_close(net(x[:, order], permuted), net(x, graph)[:, order], rtol=0, atol=1e-14)


def test_attention_formula():
    """Per head, softmax(Q Kᵀ/√d) V over visible nodes; both parts are residual and pre-normalized."""
    block, h, attn_mask = AttentionBlock(6, 3).double(), draw(2, NODES, 6), Graph(PATH).attention_mask()
    queries, keys, values = block.project(block.norm(h)).split(6, dim=-1)
    heads = []
    for head in (slice(0, 2), slice(2, 4), slice(4, 6)):
        scores = queries[..., head] @ keys[..., head].mT / 2**0.5
        heads.append(scores.masked_fill(~attn_mask, -torch.inf).softmax(-1) @ values[..., head])
    middle = h + block.join(torch.cat(heads, dim=-1))
    expected = middle + block.net(block.norm_net(middle))
    torch.testing.assert_close(block(h, attn_mask), expected, rtol=0, atol=1e-14)


def test_embedding_takes_features_with_their_sines_and_cosines():
    embedding, x = NodeEmbedding(2, 8).double(), draw(3, 4, 2)
    embedding.net = nn.Identity()
    waves = torch.stack([frequency * x[..., f] for f in range(2) for frequency in (1, 2, 4, 8)], dim=-1)
    assert torch.equal(embedding(x), torch.cat([x, waves.sin(), waves.cos()], dim=-1))


def test_nets_start_near_zero():
    """A hundredth of a linear layer's default initialization, which is uniform within 1/√width."""
    for net in (GraphAttentionNet(2, 3, AttentionSizes(16)), SetAutoregressiveNet(1, 3, AttentionSizes(16))):
        assert 0.5 * 0.01 / 4 < net.out.weight.abs().max() <= 0.01 / 4
        assert not net.out.bias.any()


def set_net() -> SetAutoregressiveNet:
    return SetAutoregressiveNet(2, 3, AttentionSizes(8, num_heads=2)).double()


def test_output_depends_only_on_the_values_before_it():
    net, kept = set_net(), draw(1, NODES, 2)
    found = depends(lambda values: net.decode(net.encode(kept), kept, values), draw(1, NODES))
    assert torch.equal(found, torch.ones(NODES, NODES, dtype=torch.bool).tril(-1))


@ON_GRAPHS
def test_kept_features_are_encoded_over_the_graph(graph):
    net, x = set_net(), draw(1, NODES, 2)
    seen = graph.attention_mask()
    seen = torch.ones(NODES, NODES) if seen is None else seen[0].float()
    assert torch.equal(depends(lambda kept: net.encode(kept, graph), x), seen @ seen > 0)


@pytest.mark.parametrize("num", [1, 3])
def test_outputs_of_the_first_nodes_need_no_others(num):
    """The inverse decodes node by node."""
    net, kept, values = set_net(), draw(2, NODES, 2), draw(2, NODES)
    encoded = net.encode(kept)
    found = net.decode(encoded[:, :num], kept[:, :num], values[:, :num])
    torch.testing.assert_close(found, net.decode(encoded, kept, values)[:, :num], rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"width": 6}, "expected a width divisible by num_heads; got 6 and 4 heads"),
        ({"num_heads": 0}, "expected num_heads of at least 1; got 0"),
        ({"num_blocks": -1}, "expected num_blocks of at least 0; got -1"),
    ],
)
def test_invalid_sizes_are_refused(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        AttentionSizes(**sizes)
