import pytest
import torch

from lightning_flows.errors import ShapeError
from lightning_flows.flows import ConvSylvesterFlow, CouplingFlow, ResidualFlow, sylvester_layer
from lightning_flows.transforms import ActNorm, AffineCoupling, Conv1x1, ConvSylvester, Flip, ResidualBlock
from tests.dense import slogdets
from tests.transforms.cases import perturb

SMALL = {
    "num_levels": 2,
    "steps_per_level": 1,
    "hidden_channels": 6,
    "split_width": 4,
    "split_depth": 1,
    "split_growth": 3,
}
FLOWS = {
    "csf": ConvSylvesterFlow,
    "coupling": CouplingFlow,
    "residual": ResidualFlow,
    "no_autoregressive": lambda shape, **options: ConvSylvesterFlow(shape, ablation="no_autoregressive", **options),
    "no_basis": lambda shape, **options: ConvSylvesterFlow(shape, ablation="no_basis", **options),
}


@pytest.mark.parametrize("name", FLOWS)
def test_log_prob_is_that_of_the_jacobian_and_round_trip(name):
    flow = FLOWS[name]((1, 4, 4), **SMALL).double()
    x = 256 * torch.rand(3, 1, 4, 4, dtype=torch.float64)
    perturb(flow, x, noise=0.05)
    latents = flow.encode(x)
    volume = slogdets(lambda value: torch.cat([z.flatten(1) for z in flow.encode(value)], 1), x)
    noise = torch.distributions.Normal(0, 1).log_prob(latents[0]).flatten(1).sum(1)
    expected = volume + noise + flow.base.log_prob(latents[1])
    torch.testing.assert_close(flow.log_prob(x), expected, rtol=0, atol=1e-8)
    torch.testing.assert_close(flow.decode(latents), x, rtol=0, atol=1e-8)
    with torch.no_grad():
        sample, log_prob = flow.sample_and_log_prob(2)
        torch.testing.assert_close(log_prob, flow.log_prob(sample), rtol=1e-9, atol=1e-7)


def test_all_factor_out_at_the_same_levels():
    steps = {"csf": [ActNorm, ConvSylvester, Flip], "coupling": [ActNorm, Conv1x1, AffineCoupling]}
    steps["residual"] = [ActNorm, ResidualBlock]
    for name, build in FLOWS.items():
        flow = build((3, 16, 16), **{**SMALL, "num_levels": 3})
        assert flow.noise_shapes == [(6, 8, 8), (12, 4, 4)]
        assert flow.base.event_shape == (48, 2, 2)
        if name in steps:
            assert [type(layer) for layer in flow.levels[1].transforms][1:] == steps[name]


@pytest.mark.parametrize("width", [7, 528])
@pytest.mark.parametrize("ablation", ["no_autoregressive", "no_basis"])
@torch.no_grad()
def test_ablations_are_built_and_inverted_at_every_width(ablation, width):
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


def test_wrong_arguments():
    with pytest.raises(ValueError, match="none, no_autoregressive, no_basis; got 'half'"):
        sylvester_layer((2, 2, 2), 4, ablation="half")
    with pytest.raises(ValueError, match="hidden_channels of at least 1; got 0"):
        CouplingFlow((3, 8, 8), hidden_channels=0)
    with pytest.raises(ShapeError, match="multiples of 8 for 3 levels"):
        ResidualFlow((3, 12, 12))


@torch.no_grad()
def test_sampling_computes_no_log_determinants(monkeypatch):
    """They take most of the time of a residual block, and sample and decode throw them away."""
    flow = ResidualFlow((1, 8, 8), **SMALL).eval()
    flow.log_prob(torch.rand(1, 1, 8, 8))
    calls = []
    evaluate = ResidualBlock._evaluate
    monkeypatch.setattr(ResidualBlock, "_evaluate", lambda *args: calls.append(1) or evaluate(*args))
    latents = flow.sample_latents(2)
    flow.decode(latents)
    flow.sample(2)
    assert not calls
    flow.sample_and_log_prob(2)
    assert len(calls) == 2


def test_log_scales_of_the_coupling_baseline_are_half_a_tanh():
    flow = CouplingFlow((1, 4, 4), **SMALL)
    within = [m for m in flow.levels.modules() if isinstance(m, AffineCoupling)]
    assert [(m.bound, m.slope) for m in within] == [(0.5, 1.0)] * 2


def test_each_residual_block_has_probes_of_its_own():
    flow = ResidualFlow((1, 8, 8), **SMALL | {"num_levels": 3, "steps_per_level": 2})
    seeds = [module.probe_seed for module in flow.modules() if isinstance(module, ResidualBlock)]
    assert len(seeds) == len(set(seeds)) == 6
