"""Properties of all callbacks that monitor training."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_flows.app.cli import run
from lightning_flows.callbacks import BoundMonitor, Dashboard, LatentHistogram, OptimizerMonitor, RoundTrip, SampleGrid
from lightning_flows.data import GraphMoGDataModule
from lightning_flows.flows import ResidualFlow
from tests.small_modules import SMALL_VARIATIONAL, SYLVESTER, Stripes, graph_module, image_module
from tests.versions import WEIGHTS_ONLY

KINDS = {
    "sylvester": (image_module, Stripes),
    "variational": (lambda: image_module(dequantization=SMALL_VARIATIONAL), Stripes),
    "residual": (lambda: image_module(flow=ResidualFlow, **SYLVESTER), Stripes),
    "graph": (
        graph_module,
        lambda: GraphMoGDataModule(mixture="mog4", batch_size=8, steps_per_epoch=2, num_val=8, num_test=8),
    ),
}


def monitors() -> list[Callback]:
    return [Dashboard(), OptimizerMonitor(), BoundMonitor(), RoundTrip(num_items=2), LatentHistogram(num_items=2)]


def fit(folder: Path, kind: str, callbacks: list[Callback], ckpt_path: Path | None = None, **options) -> Trainer:
    torch.manual_seed(0)
    module, data = (build() for build in KINDS[kind])
    logger = TensorBoardLogger(folder, "", "", default_hp_metric=False)
    trainer = Trainer(
        **{
            "accelerator": "cpu", "max_epochs": 2, "logger": logger, "callbacks": callbacks, "log_every_n_steps": 1,
            "gradient_clip_val": 0.01, "enable_progress_bar": False, "enable_model_summary": False,
            "enable_checkpointing": False, "default_root_dir": folder, **options,
        }
    )  # fmt: skip
    trainer.fit(module, data, ckpt_path=ckpt_path, **WEIGHTS_ONLY)
    return trainer


def events(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def curve(folder: Path, tag: str) -> list[float]:
    return [event.value for event in events(folder).Scalars(tag)]


class Modes(Callback):
    """Record whether all layers are in train mode when a training step starts."""

    def __init__(self) -> None:
        self.modes: list[bool] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.modes.append(all(layer.training for layer in pl_module.modules()))


@pytest.mark.parametrize("kind", KINDS)
def test_training_is_bit_for_bit_equal_with_and_without_monitors(tmp_path: Path, kind: str) -> None:
    states = []
    for name, callbacks in (("without", []), ("with", [*monitors(), modes := Modes()])):
        trainer = fit(tmp_path / name, kind, callbacks)
        states.append((trainer.lightning_module.state_dict(), torch.get_rng_state()))
    (before, rng_before), (after, rng_after) = states
    assert torch.equal(rng_before, rng_after)
    for key, value in before.items():
        assert torch.equal(value, after[key]), key
    assert modes.modes == [True] * 4


class Random(Callback):
    """Start fit with a given state of the global generator."""

    def __init__(self, state: torch.Tensor) -> None:
        self.state = state

    def setup(self, trainer, pl_module, stage) -> None:
        torch.set_rng_state(self.state)


def test_resuming_with_monitors_equals_an_uninterrupted_run_without(tmp_path: Path) -> None:
    whole = fit(tmp_path / "whole", "sylvester", []).lightning_module.state_dict()
    first = fit(tmp_path / "run", "sylvester", monitors(), max_epochs=1)
    state = torch.get_rng_state()
    first.save_checkpoint(tmp_path / "run.ckpt")
    resumed = fit(tmp_path / "run", "sylvester", [*monitors(), Random(state)], tmp_path / "run.ckpt")
    assert resumed.global_step == 4
    for key, value in resumed.lightning_module.state_dict().items():
        assert torch.equal(value, whole[key]), key
    assert len(curve(tmp_path / "run", "bound/log_det")) == 4


@pytest.mark.parametrize("kind", KINDS)
def test_tags(tmp_path: Path, kind: str) -> None:
    fit(tmp_path, kind, monitors())
    tags = events(tmp_path).Tags()
    unit = "nll" if kind == "graph" else "bpd"
    found = {tag for tag in tags["scalars"] if not tag.startswith(("val/", "train/")) and tag != "epoch"}
    expected = {"optimizer/learning_rate", "optimizer/gradient_norm", "inverse/round_trip_error"}
    expected |= {"bound/latents", "bound/log_det"} | ({"bound/dequantization"} if unit == "bpd" else set())
    if kind != "graph":
        expected |= {"inverse/iterations", "inverse/most_iterations"}
    assert found == expected
    levels = {"latents/level_1"} if kind == "graph" else {"latents/level_1", "latents/level_2"}
    assert set(tags["histograms"]) == {*levels, "latents/normal"}
    assert tags["images"] == ["latents"]
    assert f"val/{unit}" in tags["scalars"]


def test_nothing_is_written_without_a_logger(tmp_path: Path) -> None:
    trainer = fit(tmp_path, "sylvester", monitors(), logger=False)
    assert trainer.global_step == 4
    assert not list(tmp_path.rglob("events*"))


def test_default_callbacks_need_no_logger(tiny: list[str], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    trainer = run(["fit", *tiny, "--trainer.logger=false"]).trainer
    assert trainer.global_step == 3
    assert {"Dashboard", "RoundTrip"} <= {type(callback).__name__ for callback in trainer.callbacks}
    assert not list(tmp_path.rglob("events*"))


@pytest.mark.parametrize("kind", ["sylvester", "graph"])
def test_all_callbacks_monitor_training_in_float64(tmp_path: Path, kind: str) -> None:
    fit(tmp_path, kind, [*monitors(), SampleGrid(4)], precision="64-true", max_epochs=1)
    assert curve(tmp_path, "inverse/round_trip_error")[0] < 1e-4
    assert {"latents", "samples"} <= set(events(tmp_path).Tags()["images"])
