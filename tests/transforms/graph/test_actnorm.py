"""The initialization of GraphActNorm; test_contract.py tests the contract of node transforms."""

import copy

import pytest
import torch
from torch import Tensor

from lightning_flows.functional.graphs import Graph
from lightning_flows.transforms import GraphActNorm, actnorm

MASK = torch.arange(5) < torch.tensor([5, 1, 3, 4])[:, None]


def batch(seed: int = 0) -> Tensor:
    """Four graphs of five nodes, with features of different mean and scale."""
    x = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x * torch.tensor([0.1, 1, 30]) + torch.tensor([3.0, -1, 100])


def initialized(x: Tensor, graph: Graph | None = None) -> GraphActNorm:
    layer = GraphActNorm(3).double()
    layer(x, graph)
    return layer


@torch.no_grad()
@pytest.mark.parametrize("mask", [None, MASK], ids=["complete", "padding"])
def test_nodes_of_the_first_training_batch_are_normalized(mask):
    x, layer = batch(), GraphActNorm(3).double()
    z, log_det = layer(x, Graph(None, mask))
    nodes = z.flatten(0, 1) if mask is None else z[mask]
    torch.testing.assert_close(nodes.mean(0), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(nodes.std(0), torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-6)
    of_node = -torch.log((x.flatten(0, 1) if mask is None else x[mask]).std(0)).sum()
    count = torch.full((4,), 5) if mask is None else mask.sum(1)
    torch.testing.assert_close(log_det, count * of_node, rtol=1e-6, atol=0)


@torch.no_grad()
def test_padding_does_not_enter_the_initialization():
    layer = initialized(torch.where(MASK[..., None], batch(), 1e6), Graph(None, MASK))
    alone = initialized(batch()[MASK][None])  # as one graph of all nodes
    torch.testing.assert_close(layer.shift, alone.shift, rtol=0, atol=1e-12)
    torch.testing.assert_close(layer.log_scale, alone.log_scale, rtol=0, atol=1e-12)


@torch.no_grad()
def test_it_is_initialized_once_and_neither_in_eval_mode_nor_by_an_inverse():
    layer = GraphActNorm(3).double().eval()
    assert torch.equal(layer(batch())[0], batch())
    assert torch.equal(layer.train().inverse(batch())[0], batch())
    layer(batch())
    before = copy.deepcopy(layer.state_dict())
    layer(batch(seed=1))
    assert before["initialized"]
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


@torch.no_grad()
@pytest.mark.parametrize("constant", ["feature", "lone_node"])
def test_a_feature_that_does_not_vary_stays_finite(constant):
    x = batch()[:1, :1] if constant == "lone_node" else batch()
    x[..., 1] = 7
    layer = GraphActNorm(3).double()
    for value, log_det in (layer(x), layer(x + 1), layer.inverse(layer(x)[0])):
        assert value.isfinite().all()
        assert log_det.isfinite().all()
    assert not layer(x)[0][..., 1].any()


@torch.no_grad()
def test_moments_are_computed_over_all_ranks(monkeypatch):
    """Two ranks that have the same batch."""
    monkeypatch.setattr(actnorm, "sum_over_ranks", lambda value: 2 * value)
    layer = initialized(batch())
    monkeypatch.undo()
    alone = initialized(torch.cat([batch(), batch()]))
    torch.testing.assert_close(layer.shift, alone.shift, rtol=0, atol=1e-12)
    torch.testing.assert_close(layer.log_scale, alone.log_scale, rtol=0, atol=1e-12)


def test_padding_may_be_nan() -> None:
    clean, layer = GraphActNorm(3).double(), GraphActNorm(3).double()
    clean(batch(), Graph(mask=MASK))
    layer(batch().masked_fill(~MASK[..., None], torch.nan), Graph(mask=MASK))
    assert layer.shift.isfinite().all()
    assert torch.equal(layer.shift, clean.shift)
    assert torch.equal(layer.log_scale, clean.log_scale)
