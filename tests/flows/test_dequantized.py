import pytest
import torch

from lightning_flows.dequantization import Dequantization, UniformDequantization
from lightning_flows.errors import ShapeError
from lightning_flows.flows import DequantizedFlow, MultiScaleFlow, conv_sylvester_flow
from lightning_flows.transforms import ActNorm, Affine, Compose, Conv1x1, ConvSylvester
from tests.transforms.cases import perturb

SHAPE = (2, 1, 1)


@pytest.fixture
def flow() -> DequantizedFlow:
    """Two pixels of few levels, on a density that bends within a level."""
    torch.manual_seed(1)
    layers = [Affine(4.0, 0.6), ActNorm(2), ConvSylvester(SHAPE, 8), Conv1x1(2), ConvSylvester(SHAPE, 8)]
    density = MultiScaleFlow([Compose(layers)], [], SHAPE).double()
    perturb(density, 4 + 0.6 * torch.randn(64, *SHAPE, dtype=torch.float64))
    return DequantizedFlow(density, UniformDequantization())


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.randint(2, 7, (5, *SHAPE), dtype=torch.uint8)


@torch.no_grad()
def exact(flow: DequantizedFlow, x: torch.Tensor, num_points: int = 60) -> torch.Tensor:
    """log P(x) = log ∫ p(x + u) du by the midpoint rule."""
    points = (torch.arange(num_points, dtype=torch.float64) + 0.5) / num_points
    u = torch.cartesian_prod(points, points).reshape(-1, 1, *SHAPE)
    log_prob = flow.flow.log_prob((x + u).flatten(0, 1)).reshape(len(u), len(x))
    return log_prob.logsumexp(0) - torch.tensor(float(len(u))).log()


@torch.no_grad()
def test_bound_likelihood_and_exact_value(flow, pictures):
    truth = exact(flow, pictures)
    draws = torch.stack([flow.elbo(pictures) for _ in range(500)])
    bound, error = draws.mean(0), draws.std(0) / 500**0.5
    assert (bound + 3 * error < truth).all()
    few = torch.stack([flow.log_likelihood(pictures, 10) for _ in range(100)])
    few_error = few.std(0) / 100**0.5
    assert (bound < few.mean(0)).all()
    assert (few.mean(0) <= truth + 3 * few_error).all()
    many = flow.log_likelihood(pictures, 20_000, chunk_size=5000)
    torch.testing.assert_close(many.double(), truth, rtol=0, atol=0.02)


class Skewed(Dequantization):
    """Density 2u for each value."""

    def sample(self, x, *, generator=None):
        u = torch.rand(x.shape, generator=generator, dtype=torch.float64).sqrt()
        return u, torch.log(2 * u).flatten(1).sum(1)


@torch.no_grad()
def test_draws_are_weighted_by_their_density(flow, pictures):
    truth = exact(flow, pictures)
    flow.dequantization = Skewed()
    found = flow.log_likelihood(pictures, 40_000, chunk_size=5000)
    torch.testing.assert_close(found.double(), truth, rtol=0, atol=0.05)
    draws = torch.stack([flow.elbo(pictures) for _ in range(500)])
    assert (draws.mean(0) < truth).all()


@torch.no_grad()
def test_one_draw_is_the_bound(flow, pictures):
    one = flow.log_likelihood(pictures, 1, generator=torch.Generator().manual_seed(2))
    bound = flow.elbo(pictures, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(one.double(), bound, rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_weights_are_averaged(flow, pictures):
    """Against the formula, with the same draws."""
    found = flow.log_likelihood(pictures, 7, chunk_size=5, generator=torch.Generator().manual_seed(2))
    generator = torch.Generator().manual_seed(2)
    draws = torch.stack([flow.elbo(pictures, generator=generator) for _ in range(7)])
    torch.testing.assert_close(found.double(), draws.exp().mean(0).log(), rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_chunks_do_not_matter():
    """Memory is bounded by the chunk, and the draws of a generator are the same in all of them."""
    density = conv_sylvester_flow((3, 4, 4), num_levels=1, steps_per_level=1, hidden_channels=8)
    flow = DequantizedFlow(density, UniformDequantization())
    x = torch.randint(0, 256, (5, 3, 4, 4), dtype=torch.uint8)
    perturb(density, x.float(), noise=0.02)
    sizes = []
    density.register_forward_pre_hook(lambda module, arguments: sizes.append(len(arguments[0])))
    log_prob = density.log_prob
    density.log_prob = lambda v: sizes.append(len(v)) or log_prob(v)
    found = {}
    for chunk_size in (1, 2, 5, 7, 12, 15, 100):
        sizes.clear()
        found[chunk_size] = flow.log_likelihood(x, 6, chunk_size=chunk_size, generator=torch.Generator().manual_seed(3))
        assert max(sizes) <= chunk_size
        assert sum(sizes) == 30
    for value in found.values():
        torch.testing.assert_close(value, found[100], rtol=1e-5, atol=1e-3)


@torch.no_grad()
def test_probabilities_of_all_levels_sum_to_one(flow):
    levels = torch.cartesian_prod(torch.arange(-8, 16), torch.arange(-8, 16)).reshape(-1, *SHAPE)
    assert exact(flow, levels, num_points=16).exp().sum().item() == pytest.approx(1, abs=1e-3)


@torch.no_grad()
def test_samples_are_pictures(flow):
    images, num_non_finite = flow.sample(2000, generator=torch.Generator().manual_seed(0))
    assert images.dtype == torch.uint8
    assert images.shape == (2000, *SHAPE)
    assert num_non_finite == 0
    x = torch.tensor([4, 4], dtype=torch.uint8).reshape(1, *SHAPE)
    probability = exact(flow, x).exp().item()
    share = (images == x).flatten(1).all(1).double().mean().item()
    assert abs(share - probability) <= 3 * (probability * (1 - probability) / 2000) ** 0.5


@torch.no_grad()
def test_values_beyond_the_levels_are_clamped_and_others_counted(flow, monkeypatch):
    values = torch.tensor([[-3.0, 300.0], [float("nan"), float("inf")], [255.99, 0.0]]).reshape(3, *SHAPE)
    monkeypatch.setattr(flow.flow, "sample", lambda *_, **__: values)
    images, num_non_finite = flow.sample(3)
    assert images.flatten().tolist() == [0, 255, 0, 0, 255, 0]
    assert num_non_finite == 2


def test_the_bound_has_gradients(flow, pictures):
    flow.elbo(pictures).sum().backward()
    assert all(parameter.grad is not None for parameter in flow.parameters())


def test_wrong_arguments(flow, pictures):
    for function in (flow.elbo, lambda x: flow.log_likelihood(x, 2)):
        with pytest.raises(TypeError, match=r"expected pictures in uint8; got torch.float32"):
            function(pictures.float())
        with pytest.raises(ShapeError, match=r"expected pictures of shape \(2, 1, 1\); got \(2, 1\)"):
            function(pictures[..., 0])
        with pytest.raises(ShapeError, match=r"expected pictures of shape \(2, 1, 1\); got \(1, 1\)"):
            function(pictures[0])
    with pytest.raises(ValueError, match="at least one draw and a chunk of one; got 0 and 64"):
        flow.log_likelihood(pictures, 0)
    with pytest.raises(ValueError, match="got 2 and 0"):
        flow.log_likelihood(pictures, 2, chunk_size=0)
