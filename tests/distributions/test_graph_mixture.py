"""GraphMixture: densities that integrate to one, samples that follow them, entropies, and what is refused."""

import math
from itertools import permutations

import pytest
import torch
from torch import Tensor

from lightning_flows.distributions.graph_mixture import PRESETS, GraphMixture, graph_mixture
from lightning_flows.errors import DataError, ShapeError

ODD = [[0.0, 1.0], [2.0, -1.0], [-3.0, 0.5]]
"""Overlapping means without symmetry."""


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def turned(means: Tensor, angle: float) -> Tensor:
    rotation = torch.tensor(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=torch.float64
    )
    return means @ rotation.T


def brute_force(x: Tensor, means: Tensor) -> Tensor:
    """Average over all assignments of nodes to means, without a permanent."""
    normal = torch.distributions.Normal(0.0, 1.0)
    log_probs = [
        normal.log_prob(x.double() - means[list(chosen)]).sum((1, 2))
        for chosen in permutations(range(len(means)), x.shape[1])
    ]
    return torch.stack(log_probs).logsumexp(0) - math.log(len(log_probs))


@pytest.mark.parametrize("num_nodes", [1, 2, 3])
def test_log_prob_against_brute_force(num_nodes):
    mixture = GraphMixture(ODD)
    x = 3 * torch.randn(50, num_nodes, 2)
    found = mixture.log_prob(x)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, brute_force(x, mixture.means), rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("means", "max_angle"), [([[0.5, -1.0]], 0.0), ([[0.5, -1.0], [2.0, 1.0]], 0.0), ([[2.0, 1.0]], 2.0)]
)
def test_density_of_one_node_integrates_to_one(means, max_angle):
    grid = torch.linspace(-9, 10, 100, dtype=torch.float64)
    x = torch.cartesian_prod(grid, grid).unsqueeze(1)
    total = GraphMixture(means, max_angle=max_angle).log_prob(x).exp().sum() * (grid[1] - grid[0]) ** 2
    assert total.item() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("max_angle", "num"), [(0.0, 40_000), (2.5, 2000)])
@pytest.mark.parametrize("num_nodes", [2, 3])
def test_density_integrates_to_one_by_importance(max_angle, num, num_nodes):
    x = 2.3 * torch.randn(num, num_nodes, 2, dtype=torch.float64, generator=seeded())
    proposal = torch.distributions.Normal(0.0, 2.3).log_prob(x).sum((1, 2))
    weight = (GraphMixture(ODD, max_angle=max_angle).log_prob(x) - proposal).exp()
    assert (weight.mean() - 1).abs() < 4 * weight.std() / num**0.5
    assert weight.std() / num**0.5 < 0.08


@pytest.mark.parametrize(
    ("name", "num_nodes"), [("mog4", 4), ("mog9", 9), ("mog9", 5), ("mog_ring", 4), ("mog_ring", 3)]
)
def test_log_prob_is_permutation_invariant(name, num_nodes):
    mixture = graph_mixture(name)
    x = mixture.sample(8, num_nodes=num_nodes, generator=seeded()).double()
    found = mixture.log_prob(x)
    assert found.isfinite().all()
    torch.testing.assert_close(mixture.log_prob(x[:, torch.randperm(num_nodes)]), found, rtol=0, atol=1e-10)


@pytest.mark.parametrize("max_angle", [0.7, math.pi])
@pytest.mark.parametrize("num_nodes", [2, 4])
def test_rotated_means_against_a_sum_over_angles(max_angle, num_nodes):
    means = graph_mixture("mog4").means + torch.tensor([1.0, 0.3], dtype=torch.float64)  # no symmetry left
    mixture = GraphMixture(means.tolist(), max_angle=max_angle)
    x = torch.cat([mixture.sample(6, num_nodes=num_nodes, generator=seeded()), 8 * torch.randn(2, num_nodes, 2)])
    angles = (torch.arange(20_000, dtype=torch.float64) + 0.5) * max_angle / 20_000
    rotation = torch.stack([angles.cos(), -angles.sin(), angles.sin(), angles.cos()], 1).view(-1, 2, 2)
    every = torch.einsum("kde,me->kmd", rotation, means)
    log_probs = [
        -0.5 * (x.double().unsqueeze(1) - every[:, list(chosen)]).square().sum((2, 3))
        for chosen in permutations(range(4), num_nodes)
    ]
    expected = torch.stack(log_probs).logsumexp((0, 2)) - math.log(20_000 * len(log_probs))
    expected -= num_nodes * math.log(2 * math.pi)
    torch.testing.assert_close(mixture.log_prob(x), expected, rtol=0, atol=2e-5)  # the sum's own error


def test_distant_means_use_more_angles():
    means = [[60.0, 0.0], [0.0, 90.0]]
    mixture = GraphMixture(means, max_angle=3.0)
    assert len(mixture.angles) > 1000
    angle = 1.234567
    x = turned(mixture.means, angle).unsqueeze(0)
    # Laplace: the posterior of the angle is a normal of precision ‖means‖².
    expected = -2 * math.log(2 * math.pi) - math.log(2) + 0.5 * math.log(2 * math.pi) - math.log(mixture.means.norm())
    assert mixture.log_prob(x).item() == pytest.approx(expected - math.log(3.0), abs=1e-4)


@pytest.mark.parametrize(
    ("max_angle", "num_nodes", "num"), [(0.0, 3, 20_000), (0.0, 2, 20_000), (1.5, 3, 2000), (1.5, 1, 2000)]
)
def test_samples_follow_the_density(max_angle, num_nodes, num):
    """Moments of a node are those of the means; E[q(X)/p(X)] = 1 for another density q."""
    mixture = GraphMixture(ODD, max_angle=max_angle)
    x = mixture.sample(num, num_nodes=num_nodes, generator=seeded())
    assert x.shape == (num, num_nodes, 2)
    assert x.dtype == torch.float32
    angles = (torch.arange(100) + 0.5) * max_angle / 100
    points = torch.cat([turned(mixture.means, angle.item()) for angle in angles])
    covariance = points.T.cov(correction=0) + torch.eye(2)
    for node in x.double().unbind(1):  # equal for all nodes: the order is random
        assert ((node.mean(0) - points.mean(0)).abs() < 4 * covariance.diagonal().sqrt() / num**0.5).all()
        torch.testing.assert_close(node.T.cov(), covariance, rtol=0.1, atol=0.3 if num < 10_000 else 0.1)
    narrow = GraphMixture([[0.1, 0.9], [1.9, -0.9], [-2.9, 0.4]], max_angle=max_angle)
    weight = (narrow.log_prob(x) - mixture.log_prob(x)).exp()
    assert (weight.mean() - 1).abs() < 4 * weight.std() / num**0.5
    assert weight.std() / num**0.5 < 0.02


def test_each_mean_is_used_at_most_once_in_any_order():
    mixture = graph_mixture("mog4")
    x = mixture.sample(4000, num_nodes=3, generator=seeded())
    nearest = torch.cdist(x.double(), mixture.means).argmin(2)
    assert (nearest.sort(1).values.diff(dim=1) > 0).all()
    orders, counts = nearest.unique(dim=0, return_counts=True)
    assert len(orders) == 24
    assert counts.min() > 100
    assert counts.max() < 240


def test_samples_are_seeded():
    mixture = graph_mixture("mog_ring")
    assert torch.equal(mixture.sample(5, generator=seeded(3)), mixture.sample(5, generator=seeded(3)))
    assert not torch.equal(mixture.sample(5, generator=seeded(3)), mixture.sample(5, generator=seeded(4)))


@pytest.mark.parametrize(("name", "expected"), [("mog4", 3.6324), ("mog9", 4.2603), ("mog16", 4.7549)])
def test_entropy_of_separate_means_has_a_closed_form(name, expected):
    mixture = graph_mixture(name)
    value, error = mixture.entropy_per_node()
    assert value == pytest.approx(expected, abs=5e-5)
    assert value == pytest.approx(
        1 + math.log(2 * math.pi) + math.lgamma(mixture.num_means + 1) / mixture.num_means, abs=1e-12
    )
    assert error == 0


def test_entropy_of_the_ring():
    value, error = graph_mixture("mog_ring").entropy_per_node(num_samples=1024)
    assert 0 < error < 0.0005
    assert abs(value - 4.0525) < min(3 * error, 0.002)


@pytest.mark.parametrize(("max_angle", "num"), [(0.0, 20_000), (1.5, 2000)])
def test_entropy_of_overlapping_means(max_angle, num):
    """Compare with the plain average of −log p(X)."""
    mixture = GraphMixture(ODD, max_angle=max_angle)
    value, error = mixture.entropy_per_node(num_samples=num // 4, seed=1)
    surprise = -mixture.log_prob(mixture.sample(num, generator=seeded(7))) / 3
    assert abs(value - surprise.mean()) < 3 * math.hypot(error, surprise.std() / num**0.5)
    assert error < surprise.std() / (num // 4) ** 0.5  # the control variate reduces the error
    assert mixture.entropy_per_node(num_samples=num // 4, seed=1) == (value, error)


@pytest.mark.parametrize("distance", [1.0, 2.0, 4.0])
def test_entropy_of_two_means_against_an_integral(distance):
    r"""I(X; order) = log 2 − E log(1 + exp(−d² + √2 d ξ)), with ξ standard normal along the line through both."""
    xi = torch.linspace(-12, 12, 4001, dtype=torch.float64)
    lost = torch.nn.functional.softplus(-(distance**2) + math.sqrt(2) * distance * xi) * (-xi.square() / 2).exp()
    order = math.log(2) - torch.trapezoid(lost, xi).item() / math.sqrt(2 * math.pi)
    value, error = GraphMixture([[0.0, 0.0], [0.0, distance]]).entropy_per_node(num_samples=100_000)
    assert error < 0.002
    assert abs(value - (1 + math.log(2 * math.pi) + order / 2)) < 3 * error


@pytest.mark.parametrize("max_angle", [0.0, 1.5])
def test_error_of_an_entropy(max_angle):
    mixture = GraphMixture(ODD, max_angle=max_angle)
    values, errors = torch.tensor([mixture.entropy_per_node(num_samples=200, seed=seed) for seed in range(12)]).T
    assert 0.5 < values.std() / errors.mean() < 2


def test_closed_form_entropy_at_its_threshold():
    """At 8 standard deviations the closed form is accurate; at 4 it is not, and is not used."""
    near, far = (GraphMixture([[0.0, 0.0], [distance, 0.0]]) for distance in (3.0, 8.0))
    closed = 1 + math.log(2 * math.pi) + math.log(2) / 2
    assert far.entropy_per_node() == (pytest.approx(closed, abs=1e-12), 0.0)
    x = far.sample(20_000, generator=seeded()).double()
    given_order = -0.5 * (x.sort(1).values[..., 0] - far.means[:, 0]).square().sum(1)  # of the first coordinate
    known = given_order - 0.5 * x[..., 1].square().sum(1) - 2 * math.log(2 * math.pi) - math.log(2)
    assert (far.log_prob(x) - known).abs().mean() < 1e-6
    value, error = near.entropy_per_node()
    assert error > 0
    assert value < closed - 0.005


def test_the_mean_log_prob_is_minus_the_entropy():
    """The average of log p over samples is minus the entropy for all sizes of the grid."""
    mixture = graph_mixture("mog9")
    log_prob = mixture.log_prob(mixture.sample(2000, generator=seeded()))
    assert (log_prob.mean() / 9 + mixture.entropy_per_node()[0]).abs() < 4 * log_prob.std() / 9 / 2000**0.5


@pytest.mark.parametrize("name", PRESETS)
def test_samples_are_valid(name):
    mixture = graph_mixture(name)
    assert mixture.is_valid(mixture.sample(500, generator=seeded())).double().mean() > 0.99
    assert mixture.is_valid(mixture.sample(500, num_nodes=3, generator=seeded())).double().mean() > 0.99


@pytest.mark.parametrize("name", PRESETS)
def test_broken_arrangements_are_not_valid(name):
    mixture = graph_mixture(name)
    means = mixture.means.clone()
    twice, astray, missing = means.clone(), means.clone(), means.clone()
    twice[0] = means[1] + 0.1
    astray[0] = means[0] + torch.tensor([-40.0, 0.0])
    missing[2, 1] = math.nan
    graphs = torch.stack([means, twice, astray, missing, means.flip(0), means + torch.tensor([0.0, 60.0])])
    assert mixture.is_valid(graphs).tolist() == [True, False, False, False, True, False]


def test_the_distance_of_valid_nodes():
    mixture = GraphMixture([[0.0, 0.0], [10.0, 0.0]])
    x = torch.tensor([[[0.0, 4.9], [10.0, 0.0]], [[0.0, 5.1], [10.0, 0.0]]])
    assert mixture.is_valid(x).tolist() == [True, False]
    assert mixture.is_valid(torch.tensor([[[4.9, 0.0]], [[5.1, 0.0]]])).tolist() == [True, True]


def test_rotated_arrangements_are_only_valid_within_the_angle():
    means = graph_mixture("mog16").means
    mixture = GraphMixture(means.tolist(), max_angle=0.5)
    graphs = torch.stack([turned(means, angle) for angle in (0.0, 0.3, 0.5, 1.0, -0.5)])
    assert mixture.is_valid(graphs).tolist() == [True, True, True, False, False]


def test_presets():
    assert [graph_mixture(name).num_means for name in PRESETS] == [4, 9, 16, 4]
    assert [graph_mixture(name).min_distance for name in PRESETS] == [10.0] * 4
    assert graph_mixture("mog9").means.unique().tolist() == [-5, 5, 15]
    assert graph_mixture("mog16").means.unique().tolist() == [-5, 5, 15, 25]
    assert graph_mixture("mog_ring").max_angle == math.pi
    with pytest.raises(DataError, match="expected a mixture among mog4, mog9, mog16, mog_ring; got 'mog5'"):
        graph_mixture("mog5")


@pytest.mark.parametrize(
    ("means", "max_angle", "error", "message"),
    [
        ([], 0.0, ShapeError, r"expected means of shape \(M, 2\) with 1 <= M <= 20; got \(0,\)"),
        ([[1.0, 2.0, 3.0]], 0.0, ShapeError, r"got \(1, 3\)"),
        ([[1.0, 2.0], [3.0]], 0.0, ShapeError, r"expected means as a list of \[x, y\]"),
        ([["a", "b"]], 0.0, ShapeError, r"expected means as a list of \[x, y\]"),
        ([[0.0, 0.0]] * 21, 0.0, ShapeError, r"got \(21, 2\)"),
        ([[math.nan, 0.0]], 0.0, DataError, "expected finite means"),
        ([[math.inf, 0.0]], 0.0, DataError, "expected finite means"),
        ([[0.0, 0.0]], -1.0, DataError, "expected a max_angle of at least 0 radians; got -1.0"),
        ([[0.0, 0.0]], math.nan, DataError, "expected a max_angle of at least 0 radians; got nan"),
        ([[900.0, 0.0]], 3.0, DataError, "move the means closer to the origin or reduce the angle"),
    ],
)
def test_wrong_arguments(means, max_angle, error, message):
    with pytest.raises(error, match=message):
        GraphMixture(means, max_angle=max_angle)


def test_wrong_graphs():
    mixture = graph_mixture("mog4")
    for call in (mixture.log_prob, mixture.is_valid):
        with pytest.raises(ShapeError, match=r"expected graphs of shape \(B, N, 2\); got \(3, 4, 3\)"):
            call(torch.zeros(3, 4, 3))
        with pytest.raises(ShapeError, match="expected 1 to 4 nodes, the number of means; got 5"):
            call(torch.zeros(3, 5, 2))
        assert call(torch.zeros(0, 4, 2)).shape == (0,)
    for num_nodes in (0, 5):
        with pytest.raises(ShapeError, match=f"expected 1 to 4 nodes, the number of means; got {num_nodes}"):
            mixture.sample(1, num_nodes=num_nodes)
