import pytest
import torch

from lightning_flows.flows import ConvSylvesterFlow, sylvester_layer
from lightning_flows.nets import DenseSizes
from lightning_flows.transforms import ActNorm, Affine, AffineCoupling, ConvSylvester, Flip, InverseReport, Squeeze
from tests.flows.cases import SPLITS, family, kinds


def test_the_model_of_the_paper_has_its_layers() -> None:
    flow = ConvSylvesterFlow((3, 32, 32), steps_per_level=2, hidden_channels=16, split=DenseSizes(8, 1))
    steps = 2 * [[ActNorm, ConvSylvester, Flip]]
    split = AffineCoupling
    assert kinds(flow.levels) == [[Affine, Squeeze, *steps, split], [Squeeze, *steps, split], [Squeeze, *steps]]
    assert flow.latent_shapes == [(6, 16, 16), (12, 8, 8), (48, 4, 4)]


@pytest.mark.parametrize("width", [7, 528])
@pytest.mark.parametrize("ablation", ["no_autoregressive", "no_basis"])
@torch.no_grad()
def test_ablations_are_built_and_inverted_at_every_width(ablation: str, width: int) -> None:
    layer = sylvester_layer((12, 4, 4), width, ablation=ablation)
    for parameter in layer.parameters():
        parameter.add_(0.02 * torch.randn_like(parameter))
    x = torch.randn(2, 12, 4, 4)
    for _ in range(5):
        layer.train()(x)
    z, log_det = layer.eval()(x)
    back, inverse_log_det = layer.inverse(z)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-5)
    torch.testing.assert_close(inverse_log_det, -log_det, rtol=1e-5, atol=1e-4)


def test_every_parameter_has_an_effect() -> None:
    flow = ConvSylvesterFlow((3, 8, 8), **SPLITS | {"num_levels": 3}).double()
    x = 256 * torch.rand(4, 3, 8, 8, dtype=torch.float64)
    flow.train().log_prob(x)
    for parameter in flow.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    flow.eval().log_prob(x).sum().backward()
    for name, parameter in flow.named_parameters():
        assert parameter.grad.any(), name


@torch.no_grad()
def test_decoding_reports_the_iterations_of_each_layer() -> None:
    flow, x = family("sylvester")
    _, reports = flow.decode_reported(flow.encode(x))
    assert [type(report) for report in reports] == [InverseReport] * 2
    assert all(report.iterations.shape == (4,) and report.iterations.min() >= 1 for report in reports)


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="none, no_autoregressive, no_basis; got 'half'"):
        sylvester_layer((2, 2, 2), 4, ablation="half")
    with pytest.raises(ValueError, match="expected hidden_channels of at least 1; got 0"):
        ConvSylvesterFlow((3, 8, 8), hidden_channels=0)
