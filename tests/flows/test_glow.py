import pytest
import torch

from lightning_flows.errors import ShapeError
from lightning_flows.flows import GlowFlow
from lightning_flows.transforms import Affine, AffineCoupling, Conv1x1, Squeeze
from lightning_flows.transforms.image import MIXINGS
from tests.dense import slogdets
from tests.transforms.cases import perturb

SMALL = {"steps_per_level": 1, "width": 6, "depth": 1, "growth": 4}


@pytest.mark.parametrize("mixing", MIXINGS)
def test_log_prob_is_that_of_the_jacobian(mixing):
    flow = GlowFlow((1, 4, 4), mixing=mixing, **SMALL).double()
    x = 256 * torch.rand(4, 1, 4, 4, dtype=torch.float64)
    perturb(flow, x, noise=0.05)
    latents = flow.encode(x)
    volume = slogdets(lambda value: torch.cat([z.flatten(1) for z in flow.encode(value)], 1), x)
    noise = torch.distributions.Normal(0, 1).log_prob(latents[0]).flatten(1).sum(1)
    expected = volume + noise + flow.base.log_prob(latents[1])
    torch.testing.assert_close(flow.log_prob(x), expected, rtol=0, atol=1e-8)
    torch.testing.assert_close(flow.decode(latents), x, rtol=0, atol=1e-9)


def test_layers():
    flow = GlowFlow((3, 32, 32), mixing="conv1x1", steps_per_level=2, width=4, depth=1, growth=2)
    kinds = [[type(layer) for layer in level.transforms] for level in flow.levels]
    step = [AffineCoupling, Conv1x1]
    assert kinds == [[Affine, Squeeze, Conv1x1, *step, *step], [Squeeze, *step, *step]]
    assert flow.noise_shapes == [(6, 16, 16)]
    assert flow.base.event_shape == (24, 8, 8)


def test_wrong_arguments():
    with pytest.raises(ShapeError, match=r"multiples of 4 for 2 levels; got \(3, 6, 6\)"):
        GlowFlow((3, 6, 6))
    with pytest.raises(ValueError, match="at least one level and one step; got 2 and 0"):
        GlowFlow((3, 8, 8), steps_per_level=0)
