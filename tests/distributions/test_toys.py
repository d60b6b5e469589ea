"""Toy densities: they integrate to one, samples follow them, entropies, and what is refused."""

import math

import pytest
import torch
from torch import Tensor

from lightning_flows.distributions.planar import REACH, PlanarDensity
from lightning_flows.distributions.toys import TOYS, Rings, toy
from lightning_flows.errors import DataError, ShapeError

TABLE = pytest.mark.parametrize("name", TOYS)
NOISY = pytest.mark.parametrize("name", [name for name in TOYS if name != "checkerboard"])
NUM = 20_000


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def grid(density: PlanarDensity, step: float, offset: float = 0.0) -> tuple[Tensor, float]:
    """Points on a square grid that contains the density, and the area of a cell."""
    reach = density.half_width + REACH * density.scale
    line = torch.arange(-reach, reach, step, dtype=torch.float64) + offset
    return torch.cartesian_prod(line, line), step**2


@TABLE
def test_densities_integrate_to_one_and_entropies_are_their_integrals(name: str) -> None:
    """On a grid other than the one that the entropy uses."""
    density = toy(name)
    step, offset = (0.25, 0.1) if name == "checkerboard" else (density.scale / 3, 0.02)
    if name == "pinwheel":
        step /= 2  # the twist makes it less smooth
    x, area = grid(density, step, offset)
    log_prob = density.log_prob(x)
    assert (log_prob.exp().sum() * area).item() == pytest.approx(1, abs=1e-8)
    assert -(log_prob.exp() * log_prob).nan_to_num(0).sum().item() * area == pytest.approx(density.entropy, abs=1e-6)


@TABLE
def test_samples_follow_the_density(name: str) -> None:
    """The mean surprise is the entropy, and E[q(X)/p(X)] = 1 for other densities q."""
    density = toy(name)
    x = density.sample(NUM, generator=seeded())
    assert x.dtype == torch.float32
    log_prob = density.log_prob(x)
    assert log_prob.dtype == torch.float64
    assert log_prob.isfinite().all()
    assert (log_prob.mean() + density.entropy).abs() <= 4 * log_prob.std() / NUM**0.5 + 1e-9
    for center in density.sample(5, generator=seeded(1)).double():
        normal = -0.5 * ((x - center) / density.scale).square().sum(1) - math.log(2 * math.pi * density.scale**2)
        weight = (normal - log_prob).exp()
        if name == "checkerboard":  # only the part on squares of the same color
            assert weight.mean() < 1
        else:
            assert (weight.mean() - 1).abs() < 4 * weight.std() / NUM**0.5
            assert weight.std() / NUM**0.5 < 0.3


@TABLE
def test_samples_depend_only_on_the_generator(name: str) -> None:
    density = toy(name)
    assert torch.equal(density.sample(5, generator=seeded(3)), density.sample(5, generator=seeded(3)))
    assert not torch.equal(density.sample(5, generator=seeded(3)), density.sample(5, generator=seeded(4)))
    assert density.sample(0, generator=seeded()).shape == (0, 2)
    assert density.log_prob(torch.zeros(0, 2)).shape == (0,)


@NOISY
def test_noise_changes_the_density(name: str) -> None:
    """More noise has more entropy, and small noise is integrated accurately as well."""
    narrow, wide = toy(name, 0.06), toy(name, 0.3)
    assert narrow.entropy < toy(name).entropy < wide.entropy or toy(name).scale > 0.3
    log_prob = narrow.log_prob(narrow.sample(NUM, generator=seeded()))
    assert (log_prob.mean() + narrow.entropy).abs() < 4 * log_prob.std() / NUM**0.5


def test_rings_have_a_closed_form() -> None:
    r"""A circle of radius R: p(x) = exp(−(|x|² + R²)/2σ²) I₀(|x|R/σ²) / 2πσ²."""
    x = 2 * torch.randn(500, 2, dtype=torch.float64, generator=seeded())
    radius, rings, variance = x.norm(dim=1, keepdim=True), torch.tensor([1.0, 2.0, 3.0]).double(), 0.2**2
    circle = -0.5 * (radius - rings).square() / variance + torch.special.i0e(radius * rings / variance).log()
    expected = (circle + (rings / 6).log()).logsumexp(1) - math.log(2 * math.pi * variance)
    near = (radius - rings).abs().min(1).values < 1
    torch.testing.assert_close(Rings(0.2).log_prob(x)[near], expected[near], rtol=0, atol=1e-8)


def test_separate_gaussians_have_the_entropy_of_one_and_of_the_choice() -> None:
    expected = math.log(8) + 1 + math.log(2 * math.pi) + 2 * math.log(0.2)
    assert toy("eight_gaussians", 0.2).entropy == pytest.approx(expected, abs=1e-9)


def test_squares_of_the_checkerboard() -> None:
    points = torch.tensor([[-3.9, -3.9], [-3.9, -1.0], [0.1, 0.1], [-0.1, 0.1], [3.9, 3.9], [4.1, 3.9], [1.0, 3.0]])
    assert toy("checkerboard").log_prob(points).isfinite().tolist() == [True, False, True, False, True, False, False]


def test_moons_are_those_of_scikit_learn() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    x, _ = datasets.make_moons(4000, noise=0.1, random_state=0)
    log_prob = toy("moons").log_prob(torch.from_numpy(x))
    assert (log_prob.mean() + toy("moons").entropy).abs() < 4 * log_prob.std() / 4000**0.5


@pytest.mark.parametrize(
    ("name", "noise", "message"),
    [
        ("swiss_roll", None, "expected a toy among moons, checkerboard, rings, .*; got 'swiss_roll'"),
        ("checkerboard", 0.1, "expected no noise for the checkerboard, which is uniform; got 0.1"),
        ("moons", 0.01, "expected noise from 0.03 to 1; got 0.01"),
        ("rings", -1.0, "expected noise from 0.03 to 1; got -1.0"),
        ("pinwheel", 2.0, "expected noise from 0.03 to 1; got 2.0"),
        ("eight_gaussians", math.nan, "expected noise from 0.03 to 1; got nan"),
    ],
)
def test_wrong_arguments(name: str, noise: float | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        toy(name, noise)


def test_wrong_points() -> None:
    with pytest.raises(ShapeError, match=r"expected points of shape \(B, 2\); got \(4, 3\)"):
        toy("moons").log_prob(torch.zeros(4, 3))
