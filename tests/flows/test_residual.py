import pytest
import torch

from lightning_flows.errors import ShapeError
from lightning_flows.flows import ResidualFlow
from lightning_flows.transforms import ActNorm, ResidualBlock, residual
from lightning_flows.transforms.residual import LogDetReport
from tests.flows.cases import SPLITS, kinds


def blocks(flow: ResidualFlow) -> list[ResidualBlock]:
    return [module for module in flow.modules() if isinstance(module, ResidualBlock)]


def test_steps_are_an_actnorm_and_a_residual_block() -> None:
    flow = ResidualFlow((3, 16, 16), **SPLITS | {"num_levels": 3})
    assert kinds(flow.levels)[1][1] == [ActNorm, ResidualBlock]
    assert flow.latent_shapes == [(6, 8, 8), (12, 4, 4), (48, 2, 2)]


def test_each_residual_block_has_its_own_probes() -> None:
    flow = ResidualFlow((1, 8, 8), **SPLITS | {"num_levels": 3, "steps_per_level": 2})
    seeds = [block.probe_seed for block in blocks(flow)]
    assert len(seeds) == len(set(seeds)) == 6


@torch.no_grad()
def test_estimated_log_determinants_are_reported_once_per_block() -> None:
    flow = ResidualFlow((1, 16, 16), **SPLITS, eval_probes=3).eval()
    reports = flow.log_prob_terms(256 * torch.rand(2, 1, 16, 16)).reports
    assert [type(report) for report in reports] == [LogDetReport] * 2
    assert all(report.error.shape == (2,) for report in reports)


@torch.no_grad()
def test_sampling_computes_no_log_determinants(monkeypatch) -> None:
    """Log-determinants need derivatives and dominate the cost of a residual block."""
    flow = ResidualFlow((1, 8, 8), **SPLITS).eval()
    calls, exact = [], residual._exact_log_det
    monkeypatch.setattr(residual, "_exact_log_det", lambda *args: calls.append(1) or exact(*args))
    flow.decode(flow.sample_latents(2))
    flow.sample(2)
    assert not calls
    flow.sample_and_log_prob(2)
    assert calls


@torch.no_grad()
def test_exact_log_determinants_in_evaluation() -> None:
    flow = ResidualFlow((3, 8, 8), num_levels=2, steps_per_level=1, hidden_channels=8, exact_dims=192).double().eval()
    for parameter in flow.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    x = 256 * torch.rand(2, 3, 8, 8, dtype=torch.float64)
    terms = flow.log_prob_terms(x)
    assert all(report.num_terms == 0 for report in terms.reports)

    def encode(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([latent.flatten() for latent in flow.encode(x)])

    with torch.enable_grad():
        jacobians = [torch.autograd.functional.jacobian(encode, each[None]).reshape(192, 192) for each in x]
    torch.testing.assert_close(terms.log_det, torch.linalg.slogdet(torch.stack(jacobians)).logabsdet)
    block = next(layer for layer in flow.modules() if isinstance(layer, residual.ResidualBlock))
    assert block.train().forward_reported(torch.rand(2, 12, 4, 4, dtype=torch.float64))[2] == []  # an estimate


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="expected hidden_channels of at least 1; got 0"):
        ResidualFlow((1, 8, 8), hidden_channels=0)
    with pytest.raises(ShapeError, match="multiples of 8 for 3 levels"):
        ResidualFlow((3, 12, 12))
