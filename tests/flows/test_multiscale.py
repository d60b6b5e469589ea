import pytest
import torch

from lightning_flows.distributions import DiagonalGaussian
from lightning_flows.errors import ShapeError
from lightning_flows.flows import ConvSylvesterFlow, Flow
from lightning_flows.transforms import Affine, Bias, Compose
from tests.flows.cases import SPLITS, conv_coupling
from tests.transforms.cases import perturb


@pytest.mark.parametrize(("shape", "num_levels"), [((3, 8, 8), 1), ((3, 8, 8), 3), ((1, 8, 4), 2), ((5, 4, 4), 2)])
@torch.no_grad()
def test_round_trip(shape, num_levels):
    flow = ConvSylvesterFlow(shape, **SPLITS | {"num_levels": num_levels, "steps_per_level": 2}).double()
    x = 256 * torch.rand(6, *shape, dtype=torch.float64)
    perturb(flow, x, noise=0.05)
    latents = flow.encode(x)
    assert len(latents) == num_levels
    assert sum(z[0].numel() for z in latents) == x[0].numel()
    torch.testing.assert_close(flow.decode(latents), x, rtol=0, atol=1e-9)
    torch.testing.assert_close(flow.float().decode(flow.encode(x.float())), x.float(), rtol=0, atol=1e-2)


def test_context_reaches_each_level_and_split():
    couplings = [conv_coupling(channels, context_channels=2) for channels in (4, 4, 2)]
    flow = Flow([Compose(couplings[:2]), couplings[2]], event_shape=(4, 3, 2)).double()
    x, context = (torch.randn(3, channels, 3, 2, dtype=torch.float64) for channels in (4, 2))
    perturb(flow, x, context)
    latents, others = flow.encode(x, context), flow.encode(x, context + 1)
    assert all((one - other).abs().max() > 1e-3 for one, other in zip(latents, others, strict=True))
    torch.testing.assert_close(flow.decode(latents, context), x, rtol=0, atol=1e-12)
    sample = flow.sample(3, context, generator=torch.Generator().manual_seed(0))
    again = flow.decode(flow.sample_latents(3, generator=torch.Generator().manual_seed(0)), context)
    assert torch.equal(sample, again)


def test_pixels_are_centered_first():
    first = ConvSylvesterFlow((1, 4, 4), **SPLITS).levels[0].transforms[0]
    x = torch.tensor([0.0, 64.0, 128.0, 256.0]).reshape(1, 1, 2, 2)
    assert isinstance(first, Affine)
    assert first(x)[0].flatten().tolist() == [-0.5, -0.25, 0.0, 0.5]


def test_a_flow_of_one_level_decodes_a_single_tensor():
    flow = Flow(Bias((2,)), DiagonalGaussian((2,)))
    (z,) = flow.encode(torch.ones(3, 2))
    assert torch.equal(flow.decode(z), torch.ones(3, 2))
    assert flow.event_shape == (2,)


SIZED = {
    "num_levels": "expected num_levels of at least 1; got 0",
    "steps_per_level": "expected steps_per_level of at least 1; got 0",
}
WRONG = {
    "odd": (ShapeError, lambda: ConvSylvesterFlow((3, 12, 12)), r"multiples of 8 for 3 levels; got \(3, 12, 12\)"),
    "flat": (ShapeError, lambda: ConvSylvesterFlow((8, 8)), r"got \(8, 8\)"),
    "no_channels": (ShapeError, lambda: ConvSylvesterFlow((0, 8, 8)), r"got \(0, 8, 8\)"),
    **{
        name: (ValueError, lambda name=name: ConvSylvesterFlow((3, 8, 8), **{name: 0}), message)
        for name, message in SIZED.items()
    },
    "no_levels": (ValueError, lambda: Flow([], DiagonalGaussian((2,))), "expected levels of at least 1; got 0"),
    "no_shape": (ValueError, lambda: Flow(Compose([])), "expected an event_shape or a base; got neither"),
    "base": (
        ShapeError,
        lambda: Flow(Compose([]), DiagonalGaussian((3,)), event_shape=(2,)),
        r"expected a base of shape \(2,\); got \(3,\)",
    ),
}


@pytest.mark.parametrize(("error", "make", "message"), WRONG.values(), ids=WRONG.keys())
def test_wrong_arguments(error, make, message):
    with pytest.raises(error, match=message):
        make()
