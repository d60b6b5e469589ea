"""VectorFlowModule: losses, gaps and predictions in nats per row, drawings, and what is refused."""

import math
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from lightning_flows.app.cli import main, run
from lightning_flows.dequantization import UniformDequantization
from lightning_flows.distributions.toys import toy
from lightning_flows.errors import NonFiniteError, ShapeError
from lightning_flows.flows import Flow, SylvesterVectorFlow
from lightning_flows.modules import ImageFlowModule, VectorFlowModule, load_model
from lightning_flows.modules.plots import plot_rows
from lightning_flows.transforms import Compose, VectorActNorm
from tests.small_modules import trainer


def flow(size: int = 2) -> Flow:
    return Flow(Compose([VectorActNorm(size)]), event_shape=(size,))


def rows(num: int = 50) -> dict[str, torch.Tensor]:
    row = 3 * torch.randn(num, 2) + 1
    return {"row": row, "index": torch.arange(num), "true_log_prob": torch.randn(num, dtype=torch.float64)}


class Gaussian(LightningDataModule):
    """Rows of a Gaussian, whose density and entropy are known."""

    entropy = 2 * math.log(3) + 1 + math.log(2 * math.pi)

    def train_dataloader(self) -> DataLoader:
        noise = torch.randn(500, 2)
        density = -0.5 * noise.double().square().sum(1) - 2 * math.log(3) - math.log(2 * math.pi)
        items = [
            {"row": 3 * e + 1, "index": torch.tensor(i), "true_log_prob": d}
            for i, (e, d) in enumerate(zip(noise, density, strict=True))
        ]
        return DataLoader(items, batch_size=100)  # type: ignore[arg-type]

    val_dataloader = test_dataloader = predict_dataloader = train_dataloader


def test_a_step_has_a_gradient_for_each_parameter() -> None:
    module, batch = VectorFlowModule(None, flow()).train(), rows()
    found = module.training_step(batch, 0)
    found["loss"].backward()
    assert set(found["terms"]) == {"latents", "log_det"}
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    torch.testing.assert_close(found["loss"].detach(), -module.eval()(batch["row"]).mean())


def test_losses_gaps_and_predictions_are_per_row() -> None:
    module, batch = VectorFlowModule(None, flow()).eval(), rows()
    log_prob = module(batch["row"]).detach()
    found = module.predict_step(batch, 0)
    assert list(found) == ["index", "log_likelihood"]
    torch.testing.assert_close(found["log_likelihood"], log_prob)
    gap = batch["true_log_prob"] - log_prob
    for step, prefix in ((module.validation_step, "val"), (module.test_step, "test")):
        step(batch, 0)
        assert getattr(module, f"{prefix}_loss").compute()[0].item() == pytest.approx(-log_prob.mean().item(), rel=1e-5)
        assert getattr(module, f"{prefix}_gap").compute()[0].item() == pytest.approx(gap.mean().item(), rel=1e-4)


def test_encoded_rows_decode_and_latents_are_standardized() -> None:
    module, batch = VectorFlowModule(None, flow().double()).train(), rows(1000)
    module(batch["row"].double())
    torch.nn.init.constant_(module.model.base.get_parameter("mean"), 2.0)
    latents = module.eval().encode(batch)
    (noise,) = module.standardize(latents)
    torch.testing.assert_close(noise, latents[0] - 2)
    torch.testing.assert_close(module.decode(latents, batch), batch["row"].double())
    back, reports = module.decode_reported(latents, batch)
    assert torch.equal(back, module.decode(latents, batch))
    assert reports == []


def test_a_test_adds_the_gap_to_the_entropy(tmp_path: Path) -> None:
    module, data, run = VectorFlowModule(None, flow()).train(), Gaussian(), trainer(tmp_path)
    module(next(iter(data.train_dataloader()))["row"])
    (results,) = run.test(module, data, verbose=False)
    assert results["test/entropy"] == pytest.approx(Gaussian.entropy)
    assert results["test/gap"] == pytest.approx(0, abs=0.1)
    assert results["test/nll"] == pytest.approx(Gaussian.entropy, abs=0.2)
    assert results["test/nll_from_gap"] == pytest.approx(results["test/entropy"] + results["test/gap"])
    assert results["test/gap_standard_error"] < results["test/nll_standard_error"] / 3
    samples = module.sample(2000, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(samples.std(0), torch.full((2,), 3.0), rtol=0.2, atol=0)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_a_drawing_shows_samples_and_leaves_out_what_is_not_finite(size: int) -> None:
    samples = torch.randn(100, size, generator=torch.Generator().manual_seed(0))
    image = VectorFlowModule(None, flow(size)).draw(samples)
    assert image.dtype == torch.uint8
    assert image.shape[0] == 3
    assert image.shape[1] == image.shape[2] >= 400
    assert (image != 255).float().mean() > 0.01
    broken = torch.cat([samples, torch.full((3, size), math.nan)])
    assert torch.equal(plot_rows(broken), image)
    assert plot_rows(broken[100:]).shape == image.shape


def test_nan_rows_are_named() -> None:
    batch = rows()
    batch["row"][3, 0] = torch.nan
    module = VectorFlowModule(None, flow()).eval()
    with pytest.raises(NonFiniteError, match="expected finite log-probabilities in training"):
        module.training_step(batch, 0)


def test_a_row_that_overflows_has_no_likelihood_and_is_named() -> None:
    """It is an outlier, and must not cost the scores of the others."""
    batch = rows(30)
    module = VectorFlowModule(None, SylvesterVectorFlow((2,), num_layers=1, width=8)).eval()
    expected = module.predict_step(batch, 0)["log_likelihood"]
    batch["row"][[3, 7]] = torch.tensor([[1e30, 0], [0, -3e38]])
    with pytest.warns(UserWarning, match=r"are given as −inf: 3, 7$"):
        found = module.predict_step(batch, 0)["log_likelihood"]
    assert found[[3, 7]].tolist() == [-math.inf] * 2
    expected[[3, 7]] = -math.inf
    torch.testing.assert_close(found, expected)
    for value in (math.nan, math.inf):  # bad data, not an outlier
        with pytest.raises(NonFiniteError, match="expected finite log-probabilities in prediction"):
            module.predict_step(batch | {"row": torch.full((30, 2), value)}, 0)
    batch["row"][:12] = 1e30
    with pytest.warns(UserWarning, match=r": 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …$"):
        module.predict_step(batch, 0)
    with torch.no_grad():
        next(module.model.parameters()).fill_(torch.nan)
    with pytest.raises(NonFiniteError, match=r" of the model is not finite: use an earlier checkpoint"):
        module.predict_step(batch, 0)


def test_flows_of_other_events_are_refused() -> None:
    images = Flow(Compose([VectorActNorm(3)]), event_shape=(3, 8, 8))
    with pytest.raises(ShapeError, match=r"expected vectors \(D,\); got a flow of \(3, 8, 8\): use ImageFlowModule"):
        VectorFlowModule(None, images)
    with pytest.raises(ShapeError, match=r"expected images \(C, H, W\); got a flow of \(2,\): .* VectorFlowModule for"):
        ImageFlowModule(None, flow(), UniformDequantization)
    with pytest.raises(ShapeError, match=r"expected a Flow with event_shape \(3,\)"):
        VectorFlowModule((3,), flow(2))


TINY = [
    "--data.batch_size=8", "--data.eval_batch_size=64", "--data.steps_per_epoch=3", "--data.num_val=64",
    "--data.num_test=100", "--trainer.max_epochs=2", "--trainer.enable_progress_bar=false",
]  # fmt: skip


def test_train_test_predict_and_sample_through_the_command_line(tmp_path: Path) -> None:
    options = [f"--trainer.logger.init_args.save_dir={tmp_path}", "--model.flow.width=8", "--data.name=pinwheel"]
    main(["fit", "--config=moons.yaml", *TINY, *options])
    folder = tmp_path / "moons/version_0"
    assert (folder / "samples/epoch_0001.png").stat().st_size > 5_000
    assert (folder / "density.png").stat().st_size > 20_000
    best = folder / "checkpoints/best.ckpt"
    metrics = run(["test", f"--ckpt_path={best}"]).trainer.callback_metrics
    assert metrics["test/gap"] > 0
    assert metrics["test/entropy"] == pytest.approx(toy("pinwheel").entropy)
    main(["predict", f"--ckpt_path={best}", f"--out={tmp_path}/scores.csv"])
    header, *rows = (tmp_path / "scores.csv").read_text().splitlines()
    assert header == "index,name,log_likelihood,typicality,p_likelihood,p_typicality"
    assert len(rows) == 100
    samples = load_model(best).sample(5, generator=torch.Generator().manual_seed(0))
    assert samples.shape == (5, 2)


@pytest.mark.parametrize(("offset", "spread"), [(1.7e9, 600.0), (0.0, 1e38), (1e30, 1e24)])
def test_values_that_float32_hardly_tells_apart_are_drawn(offset: float, spread: float) -> None:
    samples = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    samples[:, 0] = offset + spread * samples[:, 0]
    assert plot_rows(samples).shape[0] == 3
