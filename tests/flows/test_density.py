"""A flow of each kind is a density, and its samples follow it."""

import pytest
import torch
from torch import Tensor

from lightning_flows.testing.jacobian import log_abs_dets
from tests.flows.cases import DENSITIES
from tests.flows.cases import density as build

BY_NAME = pytest.mark.parametrize("name", DENSITIES)
REACH, POINTS = 12.0, 241


def grid(shape: tuple[int, ...]) -> tuple[Tensor, float]:
    """Points over [−REACH, REACH] in each dimension, as events, and the volume of a cell."""
    axis = torch.linspace(-REACH, REACH, POINTS, dtype=torch.float64)
    dims = torch.Size(shape).numel()
    points = torch.cartesian_prod(*[axis] * dims).reshape(-1, *shape)
    return points, (2 * REACH / (POINTS - 1)) ** dims


@BY_NAME
@torch.no_grad()
def test_density_integrates_to_one_and_samples_follow_it(name):
    flow, shape = build(name), DENSITIES[name][1]
    points, cell = grid(shape)
    log_density = torch.cat([flow.log_prob(part) for part in points.split(20_000)])
    density = log_density.exp()
    assert (density * cell).sum().item() == pytest.approx(1, abs=1e-4)

    samples = flow.sample(10_000, generator=torch.Generator().manual_seed(0))
    assert samples.shape == (10_000, *shape)
    statistics = {
        "log_prob": (flow.log_prob(samples), log_density),
        "first": (samples.flatten(1)[:, 0], points.flatten(1)[:, 0]),
        "product": (samples.flatten(1).prod(1), points.flatten(1).prod(1)),
        "waves": (torch.sin(2 * samples).flatten(1).sum(1), torch.sin(2 * points).flatten(1).sum(1)),
        "near": (torch.exp(-samples.flatten(1).square().sum(1)), torch.exp(-points.flatten(1).square().sum(1))),
    }
    for key, (of_samples, of_points) in statistics.items():
        expected = (of_points * density * cell).sum()
        standard_error = of_samples.std() / len(of_samples) ** 0.5
        errors = 3 if key == "log_prob" else 4  # the others are large
        assert (of_samples.mean() - expected).abs() <= errors * standard_error + 1e-4, key


@BY_NAME
def test_log_prob_matches_the_jacobian(name):
    flow, shape = build(name), DENSITIES[name][1]
    x = torch.randn(5, *shape, dtype=torch.float64)

    def latent(value: Tensor) -> Tensor:
        return torch.cat([part.flatten(1) for part in flow.encode(value)], 1)

    z, base = latent(x), flow.base
    last = z[:, z.shape[1] - torch.Size(base.event_shape).numel() :]
    log_base = base.log_prob(last.reshape(-1, *base.event_shape))
    rest = z[:, : z.shape[1] - last.shape[1]]
    log_rest = torch.distributions.Normal(0, 1).log_prob(rest).sum(1)
    expected = log_base + log_rest + log_abs_dets(latent, x)
    torch.testing.assert_close(flow.log_prob(x), expected, rtol=0, atol=1e-8)
