"""Training and evaluation of images, compared with direct computations."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_flows.dequantization import UniformDequantization
from lightning_flows.errors import UsageError
from lightning_flows.flows import CouplingFlow, GlowFlow, ResidualFlow
from lightning_flows.functional.philox import streams
from lightning_flows.functional.probes import probes_by_item
from lightning_flows.modules import ImageFlowModule
from lightning_flows.modules import image as module_file
from lightning_flows.nets import DenseSizes
from tests.small_modules import SMALL_VARIATIONAL, SYLVESTER, Stripes, image_module, trainer
from tests.transforms.cases import perturb

NATS = 64 * math.log(2)  # one bit per dimension
ROUNDS = 64, 128, 192


def away(module: ImageFlowModule) -> ImageFlowModule:
    """In eval mode, with perturbed parameters and a base so narrow that draws differ a lot."""
    perturb(module.model.flow, Stripes().images + torch.rand(16, 1, 8, 8), noise=0.1)
    with torch.no_grad():
        module.model.flow.base.log_scale.sub_(2)
    return module.eval()


def noise_of(module: ImageFlowModule, index: int, num: int, seed: int = 0) -> Tensor:
    """Noise of an image in evaluation."""
    source = streams(seed, "evaluation noise", [index]).of(torch.zeros(num).long(), torch.arange(num))
    return module.model.dequantization.draw_noise(num, source)


def draws(module: ImageFlowModule, image: Tensor, index: int, num: int, seed: int = 0) -> Tensor:
    """Log-weights of an image in evaluation."""
    noise = noise_of(module, index, num, seed)
    with torch.no_grad():
        return torch.cat([module.model.elbo(image[None], each[None]) for each in noise]).double()


def test_bound_and_likelihood_are_logged_separately(tmp_path) -> None:
    (results,) = trainer(tmp_path).test(image_module(num_importance_samples=8), Stripes(), verbose=False)
    bound = {"test/loss", "test/bpd", "test/bpd_standard_error"}
    assert set(results) == bound | {"test/nll_bpd", "test/nll_bpd_standard_error", "test/importance_samples"}
    (results,) = trainer(tmp_path).test(image_module(), Stripes(), verbose=False)
    assert set(results) == bound
    assert results["test/loss"] == results["test/bpd"]


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("indices", [[0, 1, 2, 3], [7, 100, 2, 12]])
def test_evaluation_noise_depends_only_on_index_and_seed(indices, seed, monkeypatch) -> None:
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    if seed is not None:
        monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
    module, images = away(image_module(num_importance_samples=5)), Stripes().images[:4]
    batch = {"image": images, "index": torch.tensor(indices)}
    module.test_step(batch, 0)
    log_weights = [draws(module, x, i, 5, seed or 0) for x, i in zip(images, indices, strict=True)]
    bounds = torch.stack([w.mean() for w in log_weights])
    likelihoods = torch.stack([w.logsumexp(0) - math.log(5) for w in log_weights])
    assert (likelihoods - bounds).min() > 0.01
    for name, values in (("test_loss", -bounds / NATS), ("test_nll", -likelihoods / NATS)):
        mean, error = getattr(module, name).compute()
        assert mean.item() == pytest.approx(values.mean().item(), rel=1e-5), name
        assert error.item() == pytest.approx(values.std().item() / 2, rel=1e-4), name
    assert module.test_draws.compute()[0] == 5
    found = module.predict_step(batch, 0)
    torch.testing.assert_close(found["log_likelihood"], likelihoods, rtol=1e-5, atol=0)
    torch.testing.assert_close(found["bpd"], -likelihoods / NATS, rtol=1e-5, atol=0)
    assert found["index"].tolist() == indices


def test_validation_takes_one_draw_of_the_bound() -> None:
    module, images = away(image_module(num_importance_samples=5)), Stripes().images[:4]
    batch = {"image": images, "index": torch.arange(4)}
    module.validation_step(batch, 0)
    bounds = torch.cat([draws(module, x, i, 1) for i, x in enumerate(images)])
    assert module.val_loss.compute()[0].item() == pytest.approx(bounds.mean().item() / -NATS, rel=1e-5)
    torch.testing.assert_close(module.log_prob(batch), bounds, rtol=1e-5, atol=0)


@pytest.mark.parametrize("draws_before", [64, 128])
def test_importance_error_is_in_bits_per_dimension(draws_before) -> None:
    """Drawing stops at the first round whose standard error, in bits, is small enough."""
    module, image = away(image_module(num_importance_samples=1000)), Stripes().images[:1]
    noise = streams(0, "evaluation noise", [0])
    errors = {
        num: module.model.importance_sample(image, num, noise=noise).error.item() / NATS for num in (64, 128, 192)
    }
    assert errors[64] > errors[128] > errors[192] > 0
    module.importance_error = errors[draws_before] * (1 + 1e-6)
    module.test_step({"image": image, "index": torch.tensor([0])}, 0)
    assert module.test_draws.compute()[0] == draws_before


@pytest.mark.parametrize("dequantization", [UniformDequantization, SMALL_VARIATIONAL])
def test_ranks_draw_the_noise_of_their_own_images(dequantization, monkeypatch) -> None:
    """The terms of an image do not depend on the number of ranks that share its batch."""
    module, images = image_module(dequantization=dequantization), Stripes().images[:6]
    module.eval()

    def terms(items: Tensor, step: int = 3) -> Tensor:
        return torch.stack(list(module.training_terms(*module.training_inputs({"image": items}, step)).values()))

    whole = terms(images)
    assert not torch.equal(whole, terms(images, 4))
    for number in range(3):
        monkeypatch.setattr(module_file, "num_ranks", lambda: 3)
        monkeypatch.setattr(module_file, "rank", lambda number=number: number)
        torch.testing.assert_close(terms(images[number::3]), whole[:, number::3], rtol=1e-5, atol=1e-3)


def test_a_training_step_is_the_mean_bound_of_its_noise() -> None:
    module, images = away(image_module()), Stripes().images[:4]
    found = module.training_step({"image": images, "index": torch.arange(4)}, 9)
    noise = streams(0, "training noise of step 9", range(4)).uniform((1, 8, 8))
    log_prob = module.model.flow.log_prob(images + noise)
    torch.testing.assert_close(found["loss"], -log_prob.mean() / NATS)
    assert set(found["terms"]) == {"latents", "log_det", "dequantization"}
    torch.testing.assert_close(sum(found["terms"].values()), log_prob.detach())


@pytest.mark.parametrize(
    ("name", "values"),
    [("num_importance_samples", [-1, 2.5]), ("importance_error", [0.0, torch.nan]), ("eval_chunk_size", [0, 2.5])],
)
def test_invalid_numbers_are_refused(name: str, values: list[float]) -> None:
    for value in values:
        with pytest.raises(UsageError, match=f"expected .*{name}.*; got {value}"):
            image_module(**{name: value})


@pytest.mark.parametrize(
    ("flow", "sizes"),
    [
        (CouplingFlow, SYLVESTER), (ResidualFlow, SYLVESTER),
        (GlowFlow, {"num_levels": 2, "steps_per_level": 1, "net": DenseSizes(4, 1, 6)}),
    ],
)  # fmt: skip
def test_any_flow_trains_tests_and_samples(flow: Any, sizes: dict[str, Any], tmp_path) -> None:
    module = image_module(flow=flow, dequantization=SMALL_VARIATIONAL, num_importance_samples=2, **sizes)
    run = trainer(tmp_path)
    run.fit(module, Stripes())
    (results,) = run.test(module, Stripes(), verbose=False)
    assert 0 < results["test/nll_bpd"] <= results["test/bpd"] < 12
    assert ("test/log_det_error_bpd" in results) == (flow is ResidualFlow)
    samples = module.eval().sample(5)
    assert (samples.dtype, samples.shape) == (torch.uint8, (5, 1, 8, 8))
    grid = module.draw(samples)
    assert (grid.dtype, len(grid)) == (torch.uint8, 3)
    assert torch.equal(grid[:, 1:9, 1:9], samples[0].expand(3, -1, -1))


@pytest.mark.parametrize("num_draws", [0, 3])
@pytest.mark.parametrize("chunk_size", [4, 256])
def test_error_of_the_log_determinants_is_over_all_images_and_draws(chunk_size, num_draws) -> None:
    module = image_module(
        (3, 8, 8),
        ResidualFlow,
        eval_probes=3,
        num_importance_samples=num_draws,
        eval_chunk_size=chunk_size,
        **SYLVESTER,
    )
    perturb(module.model.flow, 256 * torch.rand(4, 3, 8, 8), noise=0.05)
    module.eval()
    batch = {"image": torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8), "index": torch.arange(6)}
    batch["image"][0] = 3  # different from the others
    module.test_step(batch, 0)
    errors, remainders = [], []
    for x, index in zip(batch["image"], batch["index"].tolist(), strict=True):
        for noise in noise_of(module, index, max(1, num_draws)):
            with torch.no_grad(), probes_by_item([index]):
                reports = module.model.elbo_terms(x[None], noise[None]).reports
            assert len(reports) == 2
            errors.append(sum(float(report.error) ** 2 for report in reports) ** 0.5)
            remainders.append(sum(float(report.remainder) for report in reports))
    bits = 192 * math.log(2) * len(errors)
    assert module.test_log_det_error.compute()[0].item() == pytest.approx(sum(errors) / bits, rel=1e-4)
    assert module.test_log_det_remainder.compute()[0].item() == pytest.approx(sum(remainders) / bits, rel=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [None, torch.float64])
def test_latents_of_images_decode_to_the_midpoints_of_levels(dtype) -> None:
    module = away(image_module())
    batch = {"image": Stripes().images[:3], "index": torch.arange(3)}
    values, exists = module.values(batch)
    assert torch.equal(values, batch["image"] + 0.5)
    assert exists.all()
    latents = module.encode(batch, dtype=dtype)
    assert {latent.dtype for latent in latents} == {dtype or torch.float32}
    back = module.decode(latents, batch, dtype=dtype)
    torch.testing.assert_close(back, values.to(back.dtype), rtol=0, atol=1e-9 if dtype else 0.05)
    if dtype is None:
        again, reports = module.decode_reported(latents, batch)
        torch.testing.assert_close(again, back, rtol=0, atol=1e-4)
        assert [report.iterations.shape for report in reports] == [(3,), (3,)]


@torch.no_grad()
def test_standardized_latents_have_a_normal_prior() -> None:
    module = away(image_module())
    noise = module.standardize(module.encode({"image": Stripes().images[:3], "index": torch.arange(3)}))
    terms = module.model.flow.log_prob_terms(Stripes().images[:3] + 0.5)
    normal = sum(torch.distributions.Normal(0, 1).log_prob(each).flatten(1).sum(1) for each in noise)
    volume = module.model.flow.base.log_scale.sum() * noise[-1][0, 0].numel()
    torch.testing.assert_close(terms.latents, normal - volume)
