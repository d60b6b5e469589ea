"""The contract of transforms of node features, in float64 with perturbed parameters."""

import pytest
import torch

from lightning_flows.errors import ShapeError
from lightning_flows.functional.graphs import Graph
from lightning_flows.testing import check_transform
from lightning_flows.transforms import GraphCoupling, SetAutoregressiveCoupling
from tests.transforms.graph.cases import CASES, GRAPHS, MASK, NODES, build, draw, permuted

TABLE = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
ON_GRAPHS = pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS.keys())


@TABLE
@ON_GRAPHS
def test_check_transform(case, graph):
    z = torch.randn(3, NODES, case.features, dtype=torch.float64)
    check_transform(build(case), draw(case), graph, z=z, build=case.build, tolerance=1e-9)


@TABLE
def test_empty_batches(case):
    transform, x = build(case), draw(case)
    for function in (transform.forward, transform.inverse):
        empty, none = function(x[:0])
        assert (empty.shape, none.shape) == (x[:0].shape, (0,))


@TABLE
@torch.no_grad()
def test_a_loaded_one_is_not_initialized_again(case):
    transform, x = build(case), draw(case)
    fresh = case.build().double()
    fresh.load_state_dict(transform.state_dict())
    fresh.train()(draw(case, seed=9))
    assert all(map(torch.equal, fresh.eval()(x), transform(x)))


@TABLE
def test_training_on_the_meta_device(case):
    transform, x = build(case).to("meta").train(), draw(case).to("meta")
    for context in (None, Graph(GRAPHS["path"].adjacency.to("meta"), MASK.to("meta"))):
        z, log_det = transform(x, context)
        assert z.device.type == log_det.device.type == "meta"


@TABLE
@ON_GRAPHS
def test_equivariance(case, graph):
    transform, x = build(case), draw(case)
    order = torch.tensor([3, 0, 4, 2, 1])
    z, log_det = transform(x, graph)
    moved, moved_log_det = transform(x[:, order], permuted(graph, order))
    assert (z - x).abs().max() > 1e-2
    torch.testing.assert_close(moved, z[:, order], rtol=0, atol=1e-10)
    torch.testing.assert_close(moved_log_det, log_det, rtol=0, atol=1e-10)
    back, _ = transform.inverse(z[:, order], permuted(graph, order))
    torch.testing.assert_close(back, x[:, order], rtol=0, atol=1e-9)


@TABLE
@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_padding_has_no_effect(case, direction):
    transform, x = build(case), draw(case)
    function = getattr(transform, direction)
    z, log_det = function(x, Graph(None, MASK))
    for i, mask in enumerate(MASK):
        alone, alone_log_det = function(x[i : i + 1, mask])
        torch.testing.assert_close(z[i, mask], alone[0], rtol=0, atol=1e-9)
        torch.testing.assert_close(log_det[i], alone_log_det[0], rtol=0, atol=1e-9)
        assert torch.equal(z[i, ~mask], x[i, ~mask])


@TABLE
def test_wrong_arguments(case):
    transform, x = build(case), draw(case)
    with pytest.raises(TypeError, match="expected a floating tensor"):
        transform(x.long())
    with pytest.raises(ShapeError, match="with at least one node"):
        transform(x[:, :0])
    with pytest.raises(ShapeError, match="expected shape"):
        transform(x[..., :1])
    with pytest.raises(ShapeError, match="expected a mask of shape"):
        transform(x, Graph(None, MASK[:2]))
    with pytest.raises(TypeError, match="expected a bool mask, False at padding; got"):
        transform(x, Graph(None, MASK.float()))
    with pytest.raises(ShapeError, match="expected an adjacency matrix for 5 nodes"):
        transform(x, Graph(torch.zeros(4, 4)))
    for batch in (2, 4):
        with pytest.raises(
            ShapeError, match=rf"expected one adjacency matrix, or one for each of 3; got \({batch}, 5, 5"
        ):
            transform(x, Graph(torch.zeros(batch, 5, 5)))
    with pytest.raises(ShapeError, match="expected an adjacency matrix for 5 nodes; got shape"):
        transform(x, Graph(torch.zeros(5)))
    with pytest.raises(TypeError, match="expected a dense adjacency matrix of real numbers"):
        transform(x, Graph(torch.zeros(5, 5, dtype=torch.complex64)))
    with pytest.raises(TypeError, match="expected a Graph as context; got Tensor"):
        transform(x, torch.zeros(5, 5))


@pytest.mark.parametrize("kind", ["coupling", "set"])
def test_one_feature_cannot_be_coupled(kind):
    with pytest.raises(ValueError, match="expected at least two features"):
        GraphCoupling(1, 0, torch.nn.Identity()) if kind == "coupling" else SetAutoregressiveCoupling(1, 0)
    with pytest.raises(ValueError, match="expected a feature between 0 and 1; got 2"):
        GraphCoupling(2, 2, torch.nn.Identity()) if kind == "coupling" else SetAutoregressiveCoupling(2, 2)


def test_each_node_of_a_set_depends_only_on_those_before_it():
    layer, x = build(CASES["set_autoregressive"]), draw(CASES["set_autoregressive"])[:1]
    order = x[0, :, 0].argsort()
    jacobian = torch.autograd.functional.jacobian(
        lambda y: layer(torch.stack([x[0, :, 0], y], -1)[None])[0][0, :, 1], x[0, :, 1]
    )
    ordered = jacobian[order][:, order]
    assert torch.equal(ordered.triu(1), torch.zeros_like(ordered))
    assert (ordered.tril(-1).abs().sum(1)[1:] > 0).all()


def test_float32_round_trip():
    """At least 99.9 % of the samples are recovered within 1e-4."""
    torch.manual_seed(0)
    layer = build(CASES["compose"], dtype=torch.float32)
    x = torch.randn(2000, NODES, 2)
    with torch.no_grad():
        back, _ = layer.inverse(layer(x)[0])
    assert ((back - x).abs().flatten(1).amax(1) < 1e-4).float().mean() >= 0.999
