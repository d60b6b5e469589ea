"""The maps of single values, and the inputs of a coupling's net; test_contract.py tests the rest."""

import math

import pytest
import torch
from torch import Tensor, nn

from lightning_flows.functional.graphs import COMPLETE, Graph
from lightning_flows.transforms import GraphCoupling
from lightning_flows.transforms.graph.coupling import (
    LOG_SCALE_BOUND,
    apply_map,
    initial_params,
    invert_map,
    num_parameters,
)

KINDS = pytest.mark.parametrize("kind", ["affine", "mixture"])


def draw(kind: str, num: int = 40) -> tuple[Tensor, Tensor]:
    """Values, and parameters for each of them."""
    y = 2 * torch.randn(num, dtype=torch.float64)
    noise = torch.randn(num, num_parameters(kind, 3), dtype=torch.float64)
    return y, initial_params(kind, 3).double() + 0.3 * noise


@KINDS
def test_the_maps_are_inverses(kind):
    y, values = draw(kind)
    z, log_derivative = apply_map(kind, y, values)
    back, inverse_log_derivative = invert_map(kind, z, values)
    torch.testing.assert_close(back, y, rtol=0, atol=1e-9)
    torch.testing.assert_close(inverse_log_derivative, -log_derivative, rtol=0, atol=1e-8)
    assert (z - y).abs().min() > 1e-4


@KINDS
@pytest.mark.parametrize("function", [apply_map, invert_map])
def test_log_derivative_is_the_derivative(kind, function):
    y, values = draw(kind)
    z, log_derivative = function(kind, y.requires_grad_(), values)
    (slope,) = torch.autograd.grad(z.sum(), y)
    torch.testing.assert_close(log_derivative.exp(), slope, rtol=1e-9, atol=0)


def test_the_affine_map_s_scale_is_bounded():
    values = torch.tensor([[-1e6, 3], [-1, 0], [1e-9, 0], [1e6, 0]], dtype=torch.float64)
    z, log_scale = apply_map("affine", torch.ones(4, dtype=torch.float64), values)
    expected = [-LOG_SCALE_BOUND, -LOG_SCALE_BOUND * math.tanh(1 / LOG_SCALE_BOUND), 1e-9, LOG_SCALE_BOUND]
    assert log_scale.tolist() == pytest.approx(expected, rel=1e-12)
    assert z.tolist() == pytest.approx([math.exp(a) + b for a, b in zip(expected, (3, 0, 0, 0), strict=True)])


class Recorder(nn.Module):
    """A net that returns zeros and records its inputs."""

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        self.given = x, graph
        return torch.zeros(*x.shape[:2], 2, dtype=x.dtype)


@pytest.mark.parametrize("moved", [0, 1, 2])
@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_the_net_receives_the_other_features_and_the_graph(moved, direction):
    net, x, graph = Recorder(), torch.randn(2, 4, 3, dtype=torch.float64), Graph(torch.zeros(4, 4))
    function = getattr(GraphCoupling(3, moved, net).double(), direction)
    for given, expected in ((graph, graph), (None, COMPLETE)):
        function(x, given)
        assert torch.equal(net.given[0], x[..., [f for f in range(3) if f != moved]])
        assert net.given[1] is expected


def test_an_affine_coupling_starts_as_the_identity_and_a_mixture_near_a_normal():
    x = torch.randn(2, 4, 3, dtype=torch.float64)
    z, log_det = GraphCoupling(3, 1, Recorder()).double()(x)
    assert torch.equal(z, x)
    assert not log_det.any()
    points = torch.linspace(-1.5, 1.5, 7, dtype=torch.float64)
    z, _ = apply_map("mixture", points, initial_params("mixture", 8).double())
    assert (z - points).abs().max() < 0.25
    torch.testing.assert_close(z.flip(0), -z, rtol=0, atol=1e-6)  # the initialization is in float32


@torch.no_grad()
def test_it_transforms_one_feature_of_each_existing_node_separately():
    class Shift(nn.Module):
        def forward(self, x: Tensor, graph: Graph) -> Tensor:
            return torch.stack([x[..., 0], x[..., 1]], dim=-1)

    x, mask = torch.randn(1, 3, 3, dtype=torch.float64), torch.tensor([[True, False, True]])
    z, log_det = GraphCoupling(3, 1, Shift()).double()(x, Graph(None, mask))
    log_scale = LOG_SCALE_BOUND * torch.tanh(x[..., 0] / LOG_SCALE_BOUND)
    moved = torch.where(mask, x[..., 1] * log_scale.exp() + x[..., 2], x[..., 1])
    torch.testing.assert_close(z, torch.stack([x[..., 0], moved, x[..., 2]], dim=-1), rtol=0, atol=1e-14)
    torch.testing.assert_close(log_det, log_scale[0, [0, 2]].sum()[None], rtol=0, atol=1e-14)
