"""What benchmarks compute, compared with direct computations."""

import importlib
import math

import pytest
import torch

from lightning_flows.nets import LipschitzConvNet
from lightning_flows.transforms import ResidualBlock
from tests.dense import conv_matrix, norm
from tests.markdown import ROOT
from tests.transforms.cases import perturb

SHAPE = (2, 4, 4)


@torch.no_grad()
def test_norms_and_jacobians_of_residual_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    lipschitz = importlib.import_module("lipschitz")
    x = torch.randn(3, *SHAPE, dtype=torch.float64)
    net = perturb(LipschitzConvNet(SHAPE, 5).double(), x, noise=0.5).eval()
    block = ResidualBlock(net)
    exact = [torch.autograd.functional.jacobian(net, each[None]).reshape(32, 32) for each in x]
    found = lipschitz.jacobians(block, x)
    torch.testing.assert_close(found, torch.stack(exact), rtol=0, atol=1e-12)
    convs = [layer for layer in net.modules() if hasattr(layer, "kernel")]
    assert len(convs) == 3
    expected = math.prod(norm(conv_matrix(conv.kernel(), SHAPE[1:])) for conv in convs)
    assert lipschitz.norm_bound(block, x) == pytest.approx(expected)
    assert torch.linalg.svdvals(found).max() <= expected
