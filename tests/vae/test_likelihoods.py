"""Likelihoods of levels, compared with torch.distributions."""

import pytest
import torch
from torch import distributions

from lightning_flows.errors import UsageError
from lightning_flows.vae import Bernoulli, Categorical, likelihood_of

SHAPE = (4, 3, 5, 2)  # B, C, H, W


def test_bernoulli() -> None:
    logits, x = 3 * torch.randn(SHAPE, dtype=torch.float64), torch.randint(2, SHAPE, dtype=torch.uint8)
    expected = distributions.Bernoulli(logits=logits)
    torch.testing.assert_close(Bernoulli().log_prob(logits, x), expected.log_prob(x.double()).flatten(1).sum(1))
    torch.testing.assert_close(Bernoulli().mean(logits), expected.mean)


def test_categorical() -> None:
    """The logits of a value are next to each other: channel c has the logits c·L to (c + 1)·L − 1."""
    num, (batch, channels, *size) = 5, SHAPE
    logits = 3 * torch.randn(batch, channels * num, *size, dtype=torch.float64)
    x = torch.randint(num, SHAPE, dtype=torch.uint8)
    expected = distributions.Categorical(logits=logits.unflatten(1, (channels, num)).movedim(2, -1))
    likelihood = Categorical(num)
    torch.testing.assert_close(likelihood.log_prob(logits, x), expected.log_prob(x.double()).flatten(1).sum(1))
    mean = (expected.probs * torch.arange(num)).sum(-1)
    torch.testing.assert_close(likelihood.mean(logits), mean)
    last = logits.to(memory_format=torch.channels_last)
    torch.testing.assert_close(likelihood.log_prob(last, x), likelihood.log_prob(logits, x))


@pytest.mark.parametrize("likelihood", [Bernoulli(), Categorical(3)], ids=["bernoulli", "categorical"])
def test_samples_have_the_expected_levels(likelihood) -> None:
    logits = torch.randn(1, 2 * likelihood.num_logits, 2, 2)
    samples = likelihood.sample(logits.expand(20_000, -1, -1, -1), torch.Generator().manual_seed(0))
    assert samples.dtype == torch.uint8
    assert samples.shape[1:] == (2, 2, 2)
    torch.testing.assert_close(samples.float().mean(0), likelihood.mean(logits)[0], rtol=0, atol=0.03)


def test_probabilities_of_all_images_sum_to_one() -> None:
    x = torch.cartesian_prod(*[torch.arange(3)] * 4).reshape(81, 2, 1, 2).to(torch.uint8)
    logits = torch.randn(1, 6, 1, 2, dtype=torch.float64).expand(81, -1, -1, -1)
    assert Categorical(3).log_prob(logits, x).exp().sum().item() == pytest.approx(1)


def test_the_number_of_levels_determines_the_likelihood() -> None:
    assert isinstance(likelihood_of(2), Bernoulli)
    assert [likelihood_of(num).num_logits for num in (2, 3, 256)] == [1, 3, 256]
    for num in (1, 257):
        with pytest.raises(UsageError, match="expected 2 to 256 levels"):
            likelihood_of(num)
