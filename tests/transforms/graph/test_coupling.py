"""The inputs of a coupling's net; test_contract.py tests the rest."""

import pytest
import torch
from torch import Tensor, nn

from lightning_flows.functional.graphs import COMPLETE, Graph
from lightning_flows.functional.value_maps import LOG_SCALE_BOUND, apply_map, initial_params
from lightning_flows.transforms import GraphCoupling


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
