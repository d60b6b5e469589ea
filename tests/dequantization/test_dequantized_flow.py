import pytest
import torch

from lightning_flows.dequantization import (
    Dequantization,
    DequantizedFlow,
    UniformDequantization,
    VariationalDequantization,
)
from lightning_flows.errors import ShapeError
from lightning_flows.flows import Flow, GlowFlow, ResidualFlow
from lightning_flows.functional.philox import Streams, streams
from lightning_flows.functional.probes import probes_by_item
from lightning_flows.nets import DenseSizes
from lightning_flows.transforms import ActNorm, Affine, Compose, Conv1x1, ConvSylvester
from tests.transforms.cases import perturb

SHAPE = (2, 1, 1)


@pytest.fixture
def flow() -> DequantizedFlow:
    """Two pixels of few levels, with a density that varies within a level."""
    torch.manual_seed(1)
    layers = [Affine(4.0, 0.6), ActNorm(2), ConvSylvester(SHAPE, 8), Conv1x1(2), ConvSylvester(SHAPE, 8)]
    density = Flow(Compose(layers), event_shape=SHAPE).double()
    perturb(density, 4 + 0.6 * torch.randn(64, *SHAPE, dtype=torch.float64))
    return DequantizedFlow(density, UniformDequantization(density.event_shape))


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(2, 7, (5, *SHAPE), dtype=torch.uint8)


def numbered(*numbers: int) -> Streams:
    return streams(0, "test", numbers)


def draws_of(flow: DequantizedFlow, number: int, num: int) -> torch.Tensor:
    """Noise of the first draws of an image."""
    return flow.dequantization.draw_noise(num, numbered(number).of(torch.zeros(num).long(), torch.arange(num)))


@torch.no_grad()
def exact(flow: DequantizedFlow, x: torch.Tensor, num_points: int = 60) -> torch.Tensor:
    """log P(x) = log ∫ p(x + u) du by the midpoint rule."""
    points = (torch.arange(num_points, dtype=torch.float64) + 0.5) / num_points
    u = torch.cartesian_prod(points, points).reshape(-1, 1, *SHAPE)
    log_prob = flow.flow.log_prob((x + u).flatten(0, 1)).reshape(len(u), len(x))
    return log_prob.logsumexp(0) - torch.tensor(float(len(u))).log()


@torch.no_grad()
def test_bound_likelihood_and_exact_value(flow, images):
    truth = exact(flow, images)
    draws = torch.stack([flow.elbo(images) for _ in range(500)])
    bound, error = draws.mean(0), draws.std(0) / 500**0.5
    assert (bound + 3 * error < truth).all()
    few = torch.stack([flow.importance_sample(images, 10).log_likelihood for _ in range(100)])
    few_error = few.std(0) / 100**0.5
    assert (bound < few.mean(0)).all()
    assert (few.mean(0) <= truth + 3 * few_error).all()
    many = flow.importance_sample(images, 10_000, chunk_size=5000)
    assert many.error.max() < 0.03
    assert ((many.log_likelihood - truth).abs() < 4 * many.error).all()
    assert (many.bound < many.log_likelihood).all()


class Skewed(Dequantization):
    """Density (1 + u)/1.5 for each value, so that weights are bounded."""

    noise_dtype = torch.float64

    def transform(self, noise, context=None):
        u = (1 + 3 * noise).sqrt() - 1
        return u, torch.log((1 + u) / 1.5).flatten(1).sum(1)


@torch.no_grad()
def test_draws_are_weighted_by_their_density(flow, images):
    truth = exact(flow, images)
    flow.dequantization = Skewed(SHAPE)
    found = flow.importance_sample(images, 10_000, chunk_size=5000)
    assert ((found.log_likelihood - truth).abs() < 4 * found.error).all()
    assert found.error.max() < 0.03
    assert (found.bound < truth).all()


@torch.no_grad()
def test_one_draw_is_the_bound(flow, images):
    one = flow.importance_sample(images, 1, noise=numbered(*range(5)))
    bound = [flow.elbo(x[None], generator=numbered(i)).item() for i, x in enumerate(images)]
    assert one.log_likelihood.tolist() == pytest.approx(bound, rel=1e-6)
    assert torch.equal(one.bound, one.log_likelihood)
    assert one.error.isinf().all()


@torch.no_grad()
def test_weights_are_averaged(flow, images):
    """Compare with the formula for the same draws."""
    found = flow.importance_sample(images, 150, chunk_size=7, noise=numbered(*range(5)))
    for i, x in enumerate(images):
        draws = flow.elbo(x.expand(150, -1, -1, -1), draws_of(flow, i, 150))
        assert found.bound[i].item() == pytest.approx(draws.mean().item(), rel=1e-6)
        assert found.log_likelihood[i].item() == pytest.approx(draws.exp().mean().log().item(), rel=1e-6)
        relative = draws.exp().std() / draws.exp().mean() / 150**0.5
        assert found.error[i].item() == pytest.approx(relative.item(), rel=1e-4)
    assert found.num_draws.tolist() == [150] * 5


def small_flow() -> tuple[DequantizedFlow, torch.Tensor]:
    """A flow with variational dequantization."""
    sizes = DenseSizes(8, 1, 4)
    density = GlowFlow((3, 8, 8), num_levels=1, steps_per_level=1, net=sizes)
    noise = VariationalDequantization((3, 8, 8), num_steps=1, net=sizes, context=DenseSizes(2, 4, 32))
    x = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    perturb(density, x.float(), noise=0.02)
    return DequantizedFlow(density, noise).eval(), x


@torch.no_grad()
def test_chunks_and_batches_do_not_matter():
    """Memory is bounded by the chunk size, which does not change an image's draws."""
    flow, x = small_flow()
    sizes = []
    log_prob = flow.flow.log_prob_terms
    flow.flow.log_prob_terms = lambda v: sizes.append(len(v)) or log_prob(v)
    expected = flow.importance_sample(x, 70, noise=numbered(*range(5)))
    for chunk_size in (1, 2, 7, 64, 100):
        sizes.clear()
        found = flow.importance_sample(x, 70, chunk_size=chunk_size, noise=numbered(*range(5)))
        assert max(sizes) <= chunk_size
        assert sum(sizes) == 350
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-3)
    alone = flow.importance_sample(x[3:4], 70, noise=numbered(3))
    torch.testing.assert_close(alone.log_likelihood, expected.log_likelihood[3:4], rtol=1e-6, atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("num_draws", [1, 10, 200])
def test_context_is_computed_once_per_image(num_draws):
    flow, x = small_flow()
    seen = []
    flow.dequantization.context_net.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    flow.importance_sample(x, num_draws, chunk_size=2)
    assert seen == [2, 2, 1]


@torch.no_grad()
def test_draws_stop_when_the_error_is_small_enough():
    flow, x = small_flow()
    whole = flow.importance_sample(x, 1000, noise=numbered(*range(5)))
    target = whole.error.median().item() * 1.5
    early = flow.importance_sample(x, 1000, noise=numbered(*range(5)), target_error=target)
    assert (early.error <= target).all()
    assert (early.num_draws < 1000).any()
    assert (early.num_draws % 64 == 0).all()
    for i, num in enumerate(early.num_draws.tolist()):  # the first draws are the same for any number of them
        first = flow.importance_sample(x, num, noise=numbered(*range(5)))
        assert first.log_likelihood[i].item() == pytest.approx(early.log_likelihood[i].item(), abs=1e-2)
    never = flow.importance_sample(x, 100, noise=numbered(*range(5)), target_error=1e-9)
    assert never.num_draws.tolist() == [100] * 5
    assert (never.error > 1e-9).all()


@torch.no_grad()
def test_probabilities_of_all_levels_sum_to_one(flow):
    levels = torch.cartesian_prod(torch.arange(-8, 16), torch.arange(-8, 16)).reshape(-1, *SHAPE)
    assert exact(flow, levels, num_points=12).exp().sum().item() == pytest.approx(1, abs=1e-3)


@torch.no_grad()
def test_samples_are_images(flow):
    images = flow.sample(2000, generator=torch.Generator().manual_seed(0))
    assert images.dtype == torch.uint8
    assert images.shape == (2000, *SHAPE)
    x = torch.tensor([4, 4], dtype=torch.uint8).reshape(1, *SHAPE)
    probability = exact(flow, x).exp().item()
    share = (images == x).flatten(1).all(1).double().mean().item()
    assert abs(share - probability) <= 3 * (probability * (1 - probability) / 2000) ** 0.5


@torch.no_grad()
def test_samples_are_clamped_with_a_warning_for_non_finite_values(flow, monkeypatch):
    values = torch.tensor([[-3.0, 300.0], [float("nan"), float("inf")], [255.99, 0.0]]).reshape(3, *SHAPE)
    monkeypatch.setattr(flow.flow, "sample", lambda *_, **__: values)
    with pytest.warns(UserWarning, match="2 sampled values are not finite and were set to 0"):
        images = flow.sample(3)
    assert images.flatten().tolist() == [0, 255, 0, 0, 255, 0]


@torch.no_grad()
def test_terms_sum_to_the_bound_and_calls_are_draws_of_it():
    flow, x = small_flow()
    noise = flow.dequantization.draw_noise(5)
    terms, bound = flow.elbo_terms(x, noise), flow.elbo(x, noise)
    assert torch.equal(terms.latents + terms.log_det + terms.dequantization, bound)
    assert torch.equal(flow(x, noise), bound)
    assert terms.dequantization.abs().min() > 0
    bound = flow.elbo(x, generator=numbered(*range(5)))
    alone = flow.elbo(x[3:4], generator=numbered(3))
    torch.testing.assert_close(bound[3:4], alone, rtol=1e-6, atol=1e-3)
    assert flow.elbo(x[:0]).shape == flow.importance_sample(x[:0], 2).bound.shape == (0,)


@torch.no_grad()
def test_errors_of_estimated_log_determinants_cover_every_draw():
    sizes = {"hidden_channels": 4, "split": DenseSizes(4, 0, 1), "steps_per_level": 2}
    flow = DequantizedFlow(ResidualFlow((1, 12, 12), num_levels=1, **sizes), UniformDequantization((1, 12, 12)))
    x = torch.randint(0, 256, (3, 1, 12, 12), dtype=torch.uint8)
    perturb(flow.flow, x.float(), noise=0.1)
    found = flow.importance_sample(x, 5, noise=numbered(*range(3)), chunk_size=2)
    for i in range(3):
        with probes_by_item([i] * 5):
            reports = flow.elbo_terms(x[i].expand(5, -1, -1, -1), draws_of(flow, i, 5)).reports
        error = torch.stack([report.error.double().square() for report in reports]).sum(0).sqrt()
        remainder = torch.stack([report.remainder.double() for report in reports]).sum(0)
        torch.testing.assert_close(found.means[0][i], error.mean(), rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(found.means[1][i], remainder.mean(), rtol=1e-3, atol=1e-7)
    single = flow.importance_sample(x, 1, noise=numbered(*range(3))).bound
    torch.testing.assert_close(flow.elbo(x, generator=numbered(*range(3))).double(), single, rtol=1e-5, atol=0)


def test_compiled():
    flow, x = small_flow()
    noise = flow.dequantization.draw_noise(5)
    torch.compiler.reset()
    compiled = torch.compile(flow, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, noise), flow(x, noise), rtol=1e-6, atol=1e-3)


def test_the_bound_has_gradients(flow, images):
    flow.elbo(images).sum().backward()
    assert all(parameter.grad is not None for parameter in flow.parameters())


def test_wrong_arguments(flow, images):
    for function in (flow.elbo, lambda x: flow.importance_sample(x, 2)):
        with pytest.raises(TypeError, match=r"expected uint8 images; got torch.float32"):
            function(images.float())
        with pytest.raises(ShapeError, match=r"expected images of shape \(2, 1, 1\); got \(2, 1\)"):
            function(images[..., 0])
        with pytest.raises(ShapeError, match=r"expected images of shape \(2, 1, 1\); got \(1, 1\)"):
            function(images[0])
    with pytest.raises(
        ShapeError, match=r"expected noise of shape \(5, 2, 1, 1\), as draw_noise returns it; got \(5, 1"
    ):
        flow(images, torch.rand(5, 1, 1, 1))
    with pytest.raises(ValueError, match="expected num_draws of at least 1; got 0"):
        flow.importance_sample(images, 0)
    with pytest.raises(ValueError, match="expected chunk_size of at least 1; got 0"):
        flow.importance_sample(images, 2, chunk_size=0)
    with pytest.raises(ValueError, match="one stream per image; got 2 for 5"):
        flow.importance_sample(images, 2, noise=numbered(0, 1))
    with pytest.raises(ShapeError, match=r"dequantization with the flow's event_shape \(2, 1, 1\).*; got \(1, 2, 1\)"):
        DequantizedFlow(flow.flow, UniformDequantization((1, 2, 1)))
