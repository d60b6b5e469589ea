"""Correct flows that are easily refused, and what their checks still find."""

import math

import pytest
import torch
from torch import Tensor, nn

from lightning_flows.testing import CheckError, check_flow

Generator = torch.Generator | None


class Standard(nn.Module):
    """A normal density without parameters."""

    def __init__(self, offset: float = 0.0) -> None:
        super().__init__()
        self.offset = offset

    def log_prob(self, x: Tensor) -> Tensor:
        return -0.5 * (x.square() + math.log(2 * math.pi)).sum(1) + self.offset

    def sample(self, num: int, *, temperature: float = 1.0, generator: Generator = None) -> Tensor:
        return temperature * torch.randn(num, 3, generator=generator)

    def sample_and_log_prob(self, num: int, *, generator: Generator = None) -> tuple[Tensor, Tensor]:
        x = self.sample(num, generator=generator)
        return x, -0.5 * x.square().sum(1) - 1.5 * math.log(2 * math.pi)


class Modes(nn.Module):
    """Normal modes of a deviation at (±20, …), with a weight for the first and a factor of the density."""

    center: Tensor
    weights: Tensor

    def __init__(self, deviation: float, weight: float = 0.5, factor: float = 1.0, size: int = 2) -> None:
        super().__init__()
        self.register_buffer("center", torch.tensor([20.0, -20.0])[:, None].expand(2, size).clone())
        self.register_buffer("weights", torch.tensor([weight, 1 - weight]))
        self.deviation, self.log_factor = deviation, math.log(factor)

    def log_prob(self, x: Tensor) -> Tensor:
        z = (x[:, None] - self.center) / self.deviation
        each = -0.5 * (z.square() + math.log(2 * math.pi)).sum(2) - x.shape[1] * math.log(self.deviation)
        return torch.logsumexp(each + self.weights.log(), 1) + self.log_factor

    def sample(self, num: int, *, generator: Generator = None) -> Tensor:
        modes = (torch.rand(num, generator=generator) > self.weights[0]).long()
        noise = torch.randn(num, self.center.shape[1], generator=generator, dtype=self.center.dtype)
        return self.center[modes] + self.deviation * noise


def data(size: int) -> Tensor:
    return torch.randn(6, size, generator=torch.Generator().manual_seed(0))


def test_a_flow_without_parameters_may_draw_in_the_default_dtype() -> None:
    names = check_flow(Standard(), data(3))
    assert {"samples", "sample_log_prob", "temperature", "generator"} <= set(names)


@pytest.mark.parametrize(
    ("deviation", "weight", "size"), [(0.001, 0.5, 1), (0.001, 0.5, 2), (0.001, 0.98, 2), (0.1, 0.5, 2), (1.0, 0.6, 2)]
)
def test_narrow_modes_pass(deviation: float, weight: float, size: int) -> None:
    """Also those that fall between all points of the finest grid, so that it finds no mass."""
    check_flow(Modes(deviation, weight, size=size), data(size), skip={"log_prob_gradient"})


@pytest.mark.parametrize(("deviation", "size"), [(1.0, 2), (0.1, 1)])
def test_the_integral_of_modes_that_the_grid_resolves_is_found(deviation: float, size: int) -> None:
    with pytest.raises(CheckError, match=r"normalization: .* integrates to 1\.01 instead of 1 \(± \d\S*e-\d+\)"):
        check_flow(Modes(deviation, factor=1.01, size=size), data(size), skip={"log_prob_gradient"})
