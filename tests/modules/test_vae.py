"""Training and evaluation of VAEs, compared with direct computations."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_flows.checkpoints import read_checkpoint
from lightning_flows.errors import ShapeError, UsageError
from lightning_flows.functional.philox import streams
from lightning_flows.modules import VAEModule, load_model
from lightning_flows.posteriors import DiagonalPosterior, PlanarPosterior
from tests.small_modules import trainer
from tests.vae.cases import EVENT, SMALL, images
from tests.versions import WEIGHTS_ONLY

OPTIONS: dict[str, Any] = {"latent_size": 3, "sizes": SMALL}


class Binary(LightningDataModule):
    """Always the same 16 binary images, in batches of 8."""

    num_levels = 2

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        items = [{"image": x, "index": torch.tensor(i)} for i, x in enumerate(images(16, self.num_levels))]
        return DataLoader(items, batch_size=8)  # type: ignore[arg-type]

    val_dataloader = test_dataloader = predict_dataloader = train_dataloader


class Levels(Binary):
    """The same with 256 levels."""

    num_levels = 256


def module(num_levels: int = 2, posterior: Any = DiagonalPosterior, **options: Any) -> VAEModule:
    torch.manual_seed(0)
    return VAEModule(EVENT, num_levels, posterior, **OPTIONS | options)


@pytest.mark.parametrize(("data", "unit", "nll", "nats"), [(Binary, "nll", "nats", 1.0), (Levels, "bpd", "bpd", None)])
def test_tests_log_the_bound_its_kl_term_and_the_likelihood(data, unit, nll, nats, tmp_path) -> None:
    nats = nats or math.prod(EVENT) * math.log(2)
    vae = module(data.num_levels, num_importance_samples=7)
    (results,) = trainer(tmp_path).test(vae, data(), verbose=False)
    means = {"test/kl", f"test/{unit}", f"test/nll_{nll}"}
    assert set(results) == means | {f"{name}_standard_error" for name in means} | {
        "test/loss",
        "test/importance_samples",
    }
    x = images(16, data.num_levels)
    found = vae.model.importance_sample(x, 7, noise=streams(vae.seed, "evaluation noise", range(16)))
    expected = {f"test/{unit}": -found.bound, f"test/nll_{nll}": -found.log_likelihood, "test/kl": found.means[0]}
    for name, values in expected.items():
        assert results[name] == pytest.approx(values.mean().item() / nats, rel=1e-5)
        error = values.std().item() / 4 / nats
        assert results[f"{name}_standard_error"] == pytest.approx(error, rel=1e-4)
    assert results["test/loss"] == results[f"test/{unit}"] > results[f"test/nll_{nll}"]


def test_validation_and_training_are_logged(tmp_path: Path) -> None:
    vae, run = module(kl_warmup_epochs=4), trainer(tmp_path, log_every_n_steps=1)
    run.fit(vae, Binary())
    assert {f"{stage}/{name}" for stage in ("train", "val") for name in ("loss", "nll", "kl")} <= {
        *run.callback_metrics
    }
    found = vae.eval().model.importance_sample(images(16), 1, noise=streams(vae.seed, "evaluation noise", range(16)))
    assert run.callback_metrics["val/nll"].item() == pytest.approx(-found.bound.mean().item(), rel=1e-5)
    assert run.callback_metrics["val/kl"].item() == pytest.approx(found.means[0].mean().item(), rel=1e-4)


def test_the_weight_of_the_kl_term_rises_with_the_epochs(tmp_path: Path) -> None:
    seen: list[tuple[float, float]] = []

    class Watched(VAEModule):
        def training_terms(self, image: Tensor, noise: Tensor, weight: Tensor) -> dict[str, Tensor]:
            terms = super().training_terms(image, noise, weight)
            parts = self.model.elbo_terms(image, noise)
            torch.testing.assert_close(terms, {"likelihood": parts.log_likelihood, "kl": -weight * parts.kl})
            seen.append((float(weight), float(parts.kl.detach().mean())))
            return terms

    vae, run = (
        Watched(EVENT, 2, kl_warmup_epochs=4, **OPTIONS),
        trainer(tmp_path, max_epochs=6, log_every_n_steps=1),
    )
    run.fit(vae, Binary())
    assert [weight for weight, _ in seen[::2]] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert run.callback_metrics["train/kl"].item() == pytest.approx(seen[-1][1], rel=1e-5)
    assert module(kl_warmup_epochs=0).kl_weight == 1


def test_without_a_warmup_the_training_loss_is_the_bound() -> None:
    vae, batch = module(kl_warmup_epochs=0), {"image": images(), "index": torch.arange(6)}
    x, noise, weight = vae.training_inputs(batch, 3)
    assert noise.equal(streams(vae.seed, "training noise of step 3", range(6)).normal((3,)))
    torch.testing.assert_close(sum(vae.training_terms(x, noise, weight).values()), vae.model(x, noise))


def test_resuming_equals_never_stopping(tmp_path: Path) -> None:
    def fit(epochs: int, **options: Any) -> dict[str, Tensor]:
        vae, run = module(posterior=PlanarPosterior, kl_warmup_epochs=5), trainer(tmp_path, max_epochs=epochs)
        run.fit(vae, Binary(), **WEIGHTS_ONLY, **options)
        run.save_checkpoint(tmp_path / f"{epochs}.ckpt")
        return vae.state_dict()

    whole = fit(3)
    fit(1)
    resumed = fit(3, ckpt_path=tmp_path / "1.ckpt")
    assert all(value.equal(resumed[name]) for name, value in whole.items())


def test_checkpoints_rebuild_the_model(tmp_path: Path) -> None:
    vae, run = module(posterior=partial(PlanarPosterior, num_flows=3)), trainer(tmp_path)
    run.fit(vae, Binary())
    run.save_checkpoint(tmp_path / "a.ckpt")
    posterior = read_checkpoint(tmp_path / "a.ckpt")["lightning_flows"]["model"]["init_args"]["posterior"]
    assert posterior == {"class_path": "lightning_flows.posteriors.PlanarPosterior", "init_args": {"num_flows": 3}}
    loaded, batch = load_model(tmp_path / "a.ckpt"), {"image": images(), "index": torch.arange(6)}
    assert isinstance(loaded, VAEModule)
    assert (loaded.num_levels, loaded.model.posterior.num_flows) == (2, 3)
    assert loaded.log_prob(batch).equal(vae.eval().log_prob(batch))


def test_predictions_are_likelihoods_and_do_not_depend_on_batches() -> None:
    vae = module(256, num_importance_samples=5).eval()
    batch = {"image": images(6, 256), "index": torch.tensor([4, 0, 9, 2, 1, 7])}
    whole = vae.predict_step(batch, 0)
    part = vae.predict_step({name: value[2:4] for name, value in batch.items()}, 0)
    assert whole["index"].tolist() == batch["index"].tolist()
    torch.testing.assert_close(whole["bpd"], -whole["log_likelihood"] / (32 * math.log(2)))
    torch.testing.assert_close(whole["log_likelihood"][2:4], part["log_likelihood"], rtol=1e-6, atol=0)
    assert "nll" in module().eval().predict_step({"image": images(), "index": torch.arange(6)}, 0)


def test_latents_are_drawn_from_the_posterior_and_decoded_to_levels() -> None:
    vae, batch = module().eval(), {"image": images(), "index": torch.arange(6)}
    (z,) = vae.encode(batch)
    mean, std, _ = vae.model.encode(batch["image"])
    noise = streams(vae.seed, "evaluation noise", range(6)).normal((3,))
    torch.testing.assert_close(z, (mean + std * noise).detach())
    decoded = vae.decode([z], batch)
    assert decoded.shape == batch["image"].shape
    assert decoded.min() >= 0
    assert decoded.max() <= 1
    assert vae.pixels(batch["image"]).unique().tolist() == [0, 255]
    assert vae.pixels(torch.tensor([0.5, torch.nan])).tolist() == [128, 0]
    assert vae.draw(vae.sample(5)).dtype == torch.uint8


@pytest.mark.parametrize("name", ["num_importance_samples", "kl_warmup_epochs", "eval_chunk_size", "latent_size"])
def test_numbers_are_checked(name: str) -> None:
    with pytest.raises(UsageError, match=f"expected {name} of at least"):
        module(**{name: -1})


def test_images_with_other_levels_end_training(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected images with levels 0 to 1; got one with level 2"):
        trainer(tmp_path).fit(module(2), Levels())


@pytest.mark.parametrize(("shape", "num_levels"), [((2,), None), ((1, 8, 8), None), (None, 2)])
def test_data_other_than_images_are_refused(shape, num_levels) -> None:
    with pytest.raises(ShapeError, match=r"expected images of shape \(C, H, W\); got .*: use data of images"):
        VAEModule(shape, num_levels)
