import copy

import pytest
import torch
from torch import nn

from lightning_flows.errors import ShapeError
from lightning_flows.flows import ConvSylvesterFlow, MultiScaleFlow, SplitPrior
from lightning_flows.nets import ConvNet
from lightning_flows.transforms import ActNorm, Affine, AffineCoupling, Compose, ConvSylvester, Squeeze
from tests.dense import slogdets
from tests.transforms.cases import perturb

SMALL = {"steps_per_level": 1, "hidden_channels": 8, "split_width": 8, "split_depth": 2, "split_growth": 4}


def csf(shape=(1, 4, 4), *, num_levels: int = 2, dtype=torch.float64, **options) -> tuple[MultiScaleFlow, torch.Tensor]:
    flow = ConvSylvesterFlow(shape, num_levels=num_levels, **SMALL | options).to(dtype)
    x = 256 * torch.rand(6, *shape, dtype=dtype)
    return perturb(flow, x, noise=0.05), x


def test_log_prob_is_that_of_the_jacobian():
    flow, x = csf()
    latents = flow.encode(x)
    assert [tuple(z.shape[1:]) for z in latents] == [(2, 2, 2), (8, 1, 1)]
    whole = slogdets(lambda value: torch.cat([z.flatten(1) for z in flow.encode(value)], 1), x)
    noise = torch.distributions.Normal(0, 1).log_prob(latents[0]).flatten(1).sum(1)
    expected = whole + noise + flow.base.log_prob(latents[1])
    torch.testing.assert_close(flow.log_prob(x), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize(("shape", "num_levels"), [((3, 8, 8), 1), ((3, 8, 8), 3), ((1, 8, 4), 2), ((5, 4, 4), 2)])
@torch.no_grad()
def test_round_trip(shape, num_levels):
    flow, x = csf(shape, num_levels=num_levels, steps_per_level=2)
    latents = flow.encode(x)
    assert len(latents) == num_levels
    assert sum(z[0].numel() for z in latents) == x[0].numel()
    torch.testing.assert_close(flow.decode(latents), x, rtol=0, atol=1e-9)
    torch.testing.assert_close(flow.float().decode(flow.encode(x.float())), x.float(), rtol=0, atol=1e-3)
    sample, log_prob = flow.double().sample_and_log_prob(3)
    assert sample.shape == (3, *shape)
    torch.testing.assert_close(log_prob, flow.log_prob(sample), rtol=1e-10, atol=1e-8)


def test_latents_in_float32_are_those_of_float64_rounded():
    flow, x = csf(dtype=torch.float32)
    before = copy.deepcopy(flow.state_dict())
    latents = flow.encode(x)
    back = flow.decode(latents)
    (back.sum() + latents[0].sum()).backward()  # reaches the parameters
    assert all(p.grad is not None and p.dtype == torch.float32 for p in flow.levels.parameters())
    assert all(torch.equal(value, before[name]) for name, value in flow.state_dict().items())
    with torch.no_grad():
        plain = flow.encode(x, exact=False)
        expected = flow.double().encode(x.double())
        for latent, reference in zip(latents, expected, strict=True):
            assert torch.equal(latent, reference.float())
        assert not torch.equal(plain[0], latents[0])
        assert torch.equal(back, flow.decode([latent.double() for latent in latents]).float())


@torch.no_grad()
def test_samples_do_not_mix_and_evaluation_is_pure():
    flow, x = csf()
    before = copy.deepcopy(flow.state_dict())
    whole = flow.log_prob(x)
    torch.testing.assert_close(flow.log_prob(x[2:3]), whole[2:3], rtol=0, atol=1e-10)
    assert torch.equal(flow.log_prob(x), whole)
    flow.sample(2)
    assert all(torch.equal(value, before[name]) for name, value in flow.state_dict().items())


@torch.no_grad()
def test_sampling_changes_nothing_in_train_mode():
    flow, _ = csf()
    before = copy.deepcopy(flow.train().state_dict())
    flow.sample(2)
    assert all(torch.equal(value, before[name]) for name, value in flow.state_dict().items())


@torch.no_grad()
def test_state_dict_loads_into_a_fresh_flow():
    flow, x = csf()
    fresh = ConvSylvesterFlow((1, 4, 4), num_levels=2, **SMALL).double().eval()
    fresh.load_state_dict(flow.state_dict())
    assert torch.equal(fresh.log_prob(x), flow.log_prob(x))


@torch.no_grad()
def test_latents_of_a_generator_are_the_same_whatever_the_parameters():
    one, two = csf()[0], csf()[0]
    latents = [flow.sample_latents(3, generator=torch.Generator().manual_seed(4)) for flow in (one, two)]
    assert torch.equal(latents[0][0], latents[1][0])
    bases = [(z[1] - flow.base.mean) / flow.base.log_scale.exp() for flow, z in zip((one, two), latents, strict=True)]
    torch.testing.assert_close(*bases, rtol=1e-10, atol=1e-10)


def test_every_parameter_of_a_csf_gets_a_gradient():
    flow, x = csf((3, 8, 8), num_levels=3)
    flow.log_prob(x).sum().backward()
    for name, parameter in flow.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_context_reaches_each_level_and_split():
    def coupling(channels: int) -> AffineCoupling:
        return AffineCoupling(channels, ConvNet(channels // 2, channels, hidden_channels=4, context_channels=2))

    flow = MultiScaleFlow([coupling(4), coupling(2)], [SplitPrior(coupling(4))], (4, 3, 2)).double()
    x, context = (torch.randn(3, channels, 3, 2, dtype=torch.float64) for channels in (4, 2))
    perturb(flow, x, context)
    latents, others = flow.encode(x, context), flow.encode(x, context + 1)
    assert all((one - other).abs().max() > 1e-3 for one, other in zip(latents, others, strict=True))
    torch.testing.assert_close(flow.decode(latents, context), x, rtol=0, atol=1e-12)
    sample = flow.sample(3, context, generator=torch.Generator().manual_seed(0))
    again = flow.decode(flow.sample_latents(3, generator=torch.Generator().manual_seed(0)), context)
    assert torch.equal(sample, again)


def test_the_model_of_the_paper_has_its_layers():
    flow = ConvSylvesterFlow((3, 32, 32), steps_per_level=2, hidden_channels=16, split_width=8, split_depth=1)
    kinds = [[type(layer) for layer in level.transforms] for level in flow.levels]
    assert [len(level) for level in kinds] == [1 + 1 + 6, 1 + 6, 1 + 6]
    assert kinds[1][:3] == [Squeeze, ActNorm, ConvSylvester]
    assert flow.noise_shapes == [(6, 16, 16), (12, 8, 8)]
    assert flow.base.event_shape == (48, 4, 4)


WRONG = {
    "odd": (ShapeError, lambda: ConvSylvesterFlow((3, 12, 12)), r"multiples of 8 for 3 levels; got \(3, 12, 12\)"),
    "flat": (ShapeError, lambda: ConvSylvesterFlow((8, 8)), r"got \(8, 8\)"),
    "no_channels": (ShapeError, lambda: ConvSylvesterFlow((0, 8, 8)), r"got \(0, 8, 8\)"),
    "levels": (
        ValueError,
        lambda: ConvSylvesterFlow((3, 8, 8), num_levels=0),
        "at least one level and one step; got 0 and 16",
    ),
    "steps": (
        ValueError,
        lambda: ConvSylvesterFlow((3, 8, 8), steps_per_level=0),
        "at least one level and one step; got 3 and 0",
    ),
    "split_width": (
        ValueError,
        lambda: ConvSylvesterFlow((3, 8, 8), split_width=0),
        "split_depth of at least 0; got 0, 63 and 8",
    ),
    "split_depth": (ValueError, lambda: ConvSylvesterFlow((3, 8, 8), split_depth=-1), "got 64, 63 and -1"),
    "splits": (
        ValueError,
        lambda: MultiScaleFlow([Compose([]), Compose([])], [], (1, 1, 1)),
        "expected one split fewer than levels; got 0 for 2 levels",
    ),
    "split_channels": (
        ShapeError,
        lambda: SplitPrior(AffineCoupling(4, nn.Identity())).split_shape((6, 2, 2)),
        "expected 4 channels to split; got 6",
    ),
    "images": (ShapeError, lambda: csf()[0].log_prob(torch.zeros(1, 1, 8, 8).double()), "expected "),
}


@pytest.mark.parametrize(("error", "make", "message"), WRONG.values(), ids=WRONG.keys())
def test_wrong_arguments(error, make, message):
    with pytest.raises(error, match=message):
        make()


@torch.no_grad()
def test_temperature_scales_the_noise_of_every_level():
    flow, _ = csf((1, 8, 8), num_levels=3)
    cold, warm = (flow.sample_latents(5, temperature=t, generator=torch.Generator().manual_seed(3)) for t in (0.5, 1.0))
    assert len(warm) == 3
    for few, many in zip(cold, warm, strict=True):
        center = flow.base.mean if few is cold[-1] else 0.0
        torch.testing.assert_close(few - center, 0.5 * (many - center), rtol=0, atol=1e-12)


def test_pixels_are_centered_first():
    flow, _ = csf()
    first = next(module for module in flow.modules() if isinstance(module, Affine))
    x = torch.tensor([0.0, 64.0, 128.0, 256.0]).reshape(1, 1, 2, 2).double()
    assert first(x)[0].flatten().tolist() == [-0.5, -0.25, 0.0, 0.5]
