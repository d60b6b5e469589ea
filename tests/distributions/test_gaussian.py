import pytest
import torch

from lightning_flows.distributions import DiagonalGaussian, standard_normal_log_prob
from lightning_flows.errors import ShapeError


@pytest.fixture
def base() -> DiagonalGaussian:
    found = DiagonalGaussian((3, 2, 4)).double()
    torch.nn.init.normal_(found.mean)
    torch.nn.init.normal_(found.log_scale)
    return found


def test_log_prob_against_torch(base):
    z = torch.randn(5, 3, 2, 4, dtype=torch.float64)
    expected = torch.distributions.Normal(base.mean, base.log_scale.exp()).log_prob(z).flatten(1).sum(1)
    torch.testing.assert_close(base.log_prob(z), expected, rtol=0, atol=1e-12)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(z).flatten(1).sum(1)
    torch.testing.assert_close(standard_normal_log_prob(z), expected, rtol=0, atol=1e-12)


@torch.no_grad()
def test_samples(base):
    samples = base.sample(20_000, generator=torch.Generator().manual_seed(0))
    assert samples.shape == (20_000, 3, 2, 4)
    spread = base.log_scale.exp().expand(3, 2, 4)
    assert ((samples.mean(0) - base.mean).abs() < 4 * spread / 20_000**0.5).all()
    torch.testing.assert_close(samples.std(0), spread, rtol=0.03, atol=0)
    cool = base.sample(20_000, temperature=0.3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(cool - base.mean, 0.3 * (samples - base.mean))
    entropy = (0.5 + base.log_scale + 0.5 * torch.log(torch.tensor(2 * torch.pi))).expand(3, 2, 4).sum()
    log_prob = base.log_prob(samples)
    assert (log_prob.mean() + entropy).abs() < 3 * log_prob.std() / 20_000**0.5


def test_other_events_are_refused(base):
    with pytest.raises(ShapeError, match=r"expected events of shape \(3, 2, 4\); got \(3, 4, 2\)"):
        base.log_prob(torch.zeros(1, 3, 4, 2, dtype=torch.float64))


def test_noise_round_trip(base):
    z = torch.randn(5, 3, 2, 4, dtype=torch.float64)
    torch.testing.assert_close(base.from_noise(base.to_noise(z)), z)
    torch.testing.assert_close(
        base.to_noise(base.mean.expand(1, 3, 2, 4)), torch.zeros(1, 3, 2, 4, dtype=torch.float64)
    )
