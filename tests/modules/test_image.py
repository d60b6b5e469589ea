"""What training and evaluation of images compute, against the same by hand."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from lightning_flows.functional.streams import stream, stream_seed
from lightning_flows.modules import CSF
from tests.modules.test_base import Stripes, make, trainer
from tests.transforms.cases import perturb

NATS = 64 * math.log(2)  # of one bit per dimension


def away(module: CSF) -> CSF:
    """With parameters away from their start, and a base so narrow that draws differ much; in eval mode."""
    perturb(module.model.flow, Stripes().images + torch.rand(16, 1, 8, 8), noise=0.1)
    with torch.no_grad():
        module.model.flow.base.log_scale.sub_(2)
    return module.eval()


def draws(module: CSF, image: Tensor, index: int, num: int, seed: int = 0) -> Tensor:
    """Log-weights of an image in evaluation."""
    generator = stream(stream_seed(seed, "evaluation noise", index), "dequantization")
    with torch.no_grad():
        return torch.cat([module.model.elbo(image[None], generator=generator) for _ in range(num)]).double()


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("indices", [[0, 1, 2, 3], [7, 100, 2, 12]])
def test_noise_of_evaluation_follows_from_index_and_seed(indices, seed, monkeypatch) -> None:
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    if seed is not None:
        monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
    module, images = away(make(num_importance_samples=5)), Stripes().images[:4]
    module.test_step({"image": images, "index": torch.tensor(indices)}, 0)
    log_weights = [draws(module, x, i, 5, seed or 0) for x, i in zip(images, indices, strict=True)]
    bounds = torch.stack([w.mean() for w in log_weights])
    likelihoods = torch.stack([w.logsumexp(0) - math.log(5) for w in log_weights])
    assert (likelihoods - bounds).min() > 0.01
    expected = {
        "test_bpd": -bounds.mean() / NATS,
        "test_bpd_error": bounds.std() / 2 / NATS,
        "test_nll": -likelihoods.mean() / NATS,
        "test_nll_error": likelihoods.std() / 2 / NATS,
        "test_draws": 5,
    }
    for name, value in expected.items():
        assert getattr(module, name).compute().item() == pytest.approx(float(value), rel=1e-5), name
    found = module.predict_step({"image": images, "index": torch.tensor(indices)}, 0)
    torch.testing.assert_close(found["log_likelihood"], likelihoods, rtol=1e-5, atol=0)
    torch.testing.assert_close(found["bpd"], -likelihoods / NATS, rtol=1e-5, atol=0)
    assert found["index"].tolist() == indices


def test_validation_takes_one_draw_of_the_bound() -> None:
    module, images = away(make(num_importance_samples=5)), Stripes().images[:4]
    module.validation_step({"image": images, "index": torch.arange(4)}, 0)
    expected = torch.stack([draws(module, x, i, 1) for i, x in enumerate(images)]).mean() / -NATS
    assert module.val_bpd.compute().item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("draws_before", [64, 128])
def test_importance_error_is_in_bits_per_dimension(draws_before) -> None:
    """Draws end at the first round whose standard error, in bits, is small enough."""
    module, image = away(make(num_importance_samples=1000)), Stripes().images[:1]
    with torch.no_grad():
        errors = {
            num: module.model.importance_sample(image, num, seeds=[stream_seed(0, "evaluation noise", 0)]).error.item()
            / NATS
            for num in (64, 128, 192)
        }
    assert errors[64] > errors[128] > errors[192] > 0
    error = errors[draws_before] * (1 + 1e-6)
    module.hparams["importance_error"] = error
    module.test_step({"image": image, "index": torch.tensor([0])}, 0)
    assert module.test_draws.compute() == draws_before


@pytest.mark.parametrize("dequantization", ["uniform", "variational"])
def test_ranks_draw_the_noise_of_one_batch_and_take_their_own(dequantization, monkeypatch) -> None:
    module = make(dequantization=dequantization, dequantization_steps=1)
    images = Stripes().images[:6]
    torch.manual_seed(5)
    whole = module._training_noise(images)
    assert len(whole) == 6
    for number in range(3):
        monkeypatch.setattr(images, "num_ranks", lambda: 3)
        monkeypatch.setattr(images, "rank", lambda number=number: number)
        torch.manual_seed(5)
        assert torch.equal(module._training_noise(images[number::3]), whole[number::3])


def test_a_training_step_is_the_mean_bound_of_its_noise() -> None:
    module, images = away(make()), Stripes().images[:4]
    module.log = lambda *args, **kwargs: None
    torch.manual_seed(5)
    loss = module.training_step({"image": images, "index": torch.arange(4)}, 0)
    torch.manual_seed(5)
    noise = torch.rand(4, 1, 8, 8)
    expected = -module.model.flow.log_prob(images + noise).mean() / NATS
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize(("seed", "step"), [(0, 0), (0, 7), (4, 7)])
def test_random_numbers_of_a_step_follow_from_seed_and_step(seed, step, monkeypatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
    module = make()
    module._trainer = SimpleNamespace(fit_loop=SimpleNamespace(total_batch_idx=step))
    module.on_train_batch_start({}, 0)
    assert torch.equal(torch.rand(4), torch.rand(4, generator=stream(seed, "training step", step)))


def test_steps_of_a_run_draw_different_noise(tmp_path) -> None:
    module, drawn = make(), []
    draw_noise = module.model.dequantization.draw_noise
    module.model.dequantization.draw_noise = lambda x, **options: drawn.append(draw_noise(x, **options)) or drawn[-1]
    trainer(tmp_path, max_epochs=2, limit_val_batches=0).fit(module, Stripes())
    assert len(drawn) == 4
    for step, noise in enumerate(drawn):
        assert torch.equal(noise, torch.rand(8, 1, 8, 8, generator=stream(0, "training step", step)))


@pytest.mark.parametrize("optimizer", ["adam", "adamax"])
def test_the_optimizer_has_the_options_of_the_config(optimizer) -> None:
    module = make(optimizer=optimizer, learning_rate=3e-4, betas=(0.7, 0.8), eps=1e-3)
    options = module.configure_optimizers()["optimizer"].defaults
    assert (options["lr"], tuple(options["betas"]), options["eps"]) == (3e-4, (0.7, 0.8), 1e-3)
    parameters = sum(len(g["params"]) for g in module.configure_optimizers()["optimizer"].param_groups)
    assert parameters == len(list(module.parameters()))


def test_a_resumed_run_takes_the_learning_rate_of_its_config(tmp_path) -> None:
    def fit(epochs: int, learning_rate: float, **options) -> tuple[CSF, list[float]]:
        module, rates = make(learning_rate=learning_rate, warmup_epochs=4, decay=0.9), []
        run = trainer(tmp_path, max_epochs=epochs)
        step = module.training_step
        module.training_step = lambda *args: rates.append(run.optimizers[0].param_groups[0]["lr"]) or step(*args)
        run.fit(module, Stripes(), weights_only=True if options else None, **options)
        run.save_checkpoint(tmp_path / "run.ckpt")
        return module, rates

    module, rates = fit(2, 1e-3)
    factors = [module.learning_rate_factor(epoch) for epoch in range(4) for _ in range(2)]
    assert rates == pytest.approx([1e-3 * factor for factor in factors[:4]])
    assert len(set(factors)) == 4
    _, rates = fit(4, 5e-4, ckpt_path=tmp_path / "run.ckpt")
    assert rates == pytest.approx([5e-4 * factor for factor in factors[4:]])
