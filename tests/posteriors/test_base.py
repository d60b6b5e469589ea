"""The contract of posteriors, and the one without a flow."""

import pytest
import torch
from torch.distributions import Normal

from lightning_flows.checkpoints import describe
from lightning_flows.errors import ShapeError, UsageError
from lightning_flows.posteriors import DiagonalPosterior, PlanarPosterior


def test_diagonal_posteriors_are_normal() -> None:
    mean, std, noise = torch.randn(3, 5, 4, dtype=torch.float64)
    z, log_q = DiagonalPosterior(4, 6)(mean, std.exp(), torch.zeros(5, 6, dtype=torch.float64), noise)
    torch.testing.assert_close(z, mean + std.exp() * noise)
    torch.testing.assert_close(log_q, Normal(mean, std.exp()).log_prob(z).sum(1))
    assert DiagonalPosterior(4, 6).num_flows == 0


@pytest.mark.parametrize("name", ["mean", "std", "h", "noise"])
def test_shapes_are_checked(name: str) -> None:
    arguments = {"mean": torch.zeros(5, 4), "std": torch.ones(5, 4), "h": torch.zeros(5, 6), "noise": torch.zeros(5, 4)}
    arguments[name] = arguments[name][:, 1:]
    with pytest.raises(ShapeError, match=r"expected .* of shape"):
        DiagonalPosterior(4, 6)(**arguments)


def test_sizes_are_checked() -> None:
    with pytest.raises(UsageError, match="expected latent_size of at least 1"):
        DiagonalPosterior(0, 6)
    with pytest.raises(UsageError, match="expected context_features of at least 1"):
        DiagonalPosterior(2, 0)


def test_sizes_are_those_of_the_model_and_not_recorded_with_the_posterior() -> None:
    assert describe(PlanarPosterior(4, 6, num_flows=3)) == {
        "class_path": "lightning_flows.posteriors.PlanarPosterior",
        "init_args": {"latent_size": 4, "context_features": 6, "num_flows": 3},
    }
    record = describe(_Owner(PlanarPosterior(4, 6, num_flows=3)))["init_args"]["posterior"]
    assert record == {"class_path": "lightning_flows.posteriors.PlanarPosterior", "init_args": {"num_flows": 3}}


class _Owner:
    """Something with a posterior."""

    def __init__(self, posterior: PlanarPosterior) -> None:
        self.hparams = {"posterior": posterior}
