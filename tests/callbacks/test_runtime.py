import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import Tensor

from lightning_flows.callbacks import RuntimeMonitor, SampleGrid, runtime
from lightning_flows.data import GraphMoGDataModule
from lightning_flows.modules import FlowModule, ImageFlowModule
from lightning_flows.training.measures import device_name
from tests.callbacks.test_monitors import KINDS, curve, fit
from tests.small_modules import Stripes, graph_module


def record(folder: Path) -> dict:
    return json.loads((folder / "runtime.json").read_text())


def test_medians_are_logged_and_saved(tmp_path: Path) -> None:
    fit(tmp_path, "sylvester", [RuntimeMonitor(skip_steps=1), SampleGrid(num_samples=2)])
    kept = record(tmp_path)
    assert kept["batch_size"] == 8
    assert kept["num_devices"] == 1
    for name in ("train_step_seconds", "images_per_second", "sample_seconds_per_image", "sample_cpu_seconds_per_image"):
        assert kept[name] == pytest.approx(curve(tmp_path, f"runtime/{name}")[-1], rel=1e-5)
    assert len(curve(tmp_path, "runtime/peak_memory_mib")) == 2  # once per epoch


def test_the_batch_size_of_the_data_is_recorded(tmp_path: Path) -> None:
    fit(tmp_path, "graph", [RuntimeMonitor()])
    assert record(tmp_path)["data_batch_size"] == 8


def test_a_resumed_run_keeps_earlier_measurements(tmp_path: Path) -> None:
    monitors = [RuntimeMonitor(skip_steps=1), SampleGrid(num_samples=2)]
    trainer = fit(tmp_path, "sylvester", monitors)
    before = record(tmp_path)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    fit(tmp_path, "sylvester", [RuntimeMonitor(skip_steps=9)], tmp_path / "last.ckpt", max_epochs=3)
    after = record(tmp_path)
    for name in ("train_step_seconds", "images_per_second", "batch_size", "sample_cpu_seconds_per_image"):
        assert after[name] == before[name]
    assert after["cpu_seconds"] > before["cpu_seconds"]
    assert before["num_steps"] == after["num_steps"] == 3
    fit(tmp_path, "sylvester", [RuntimeMonitor(skip_steps=1)], tmp_path / "last.ckpt", max_epochs=3)
    total = [each["num_steps"] * each["train_step_cpu_seconds"] for each in (before, record(tmp_path))]
    assert 0 < total[0] < total[1] < record(tmp_path)["cpu_seconds"]
    assert record(tmp_path)["num_steps"] == 4


class StateAfter(Callback):
    """Keep the state of a monitor after a number of batches, as a checkpoint would."""

    def __init__(self, monitor: RuntimeMonitor, batches: int) -> None:
        self.monitor, self.batches = monitor, batches

    def on_train_batch_end(self, *args: Any) -> None:
        self.batches -= 1
        if self.batches == 0:
            self.state = self.monitor.state_dict()


def test_an_interrupted_epoch_counts(tmp_path: Path) -> None:
    monitor = RuntimeMonitor(skip_steps=0)
    state = StateAfter(monitor, 1)
    fit(tmp_path, "sylvester", [monitor, state])
    assert 0 < state.state["train_step_cpu_seconds"] < state.state["cpu_seconds"] < record(tmp_path)["cpu_seconds"]
    assert (state.state["num_steps"], record(tmp_path)["num_steps"]) == (1, 4)


def test_a_step_has_all_batches_of_its_gradient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = itertools.count()
    monkeypatch.setattr(runtime, "_now", lambda device: next(times))  # each batch takes a second
    trainer = fit(tmp_path, "graph", [RuntimeMonitor(skip_steps=0)], accumulate_grad_batches=2)
    kept = record(tmp_path)
    assert trainer.global_step == kept["num_steps"] == 2
    assert (kept["train_step_seconds"], kept["batch_size"], kept["images_per_second"]) == (2, 16, 8)
    assert kept["accumulate_grad_batches"] == 2


def test_a_shorter_last_step_does_not_count_as_the_size_of_all(tmp_path: Path, monkeypatch) -> None:
    """Steps of two, two and one batches."""
    sizes = {"batch_size": 8, "steps_per_epoch": 5, "num_val": 8, "num_test": 8}
    monkeypatch.setitem(KINDS, "graph", (graph_module, lambda: GraphMoGDataModule(mixture="mog4", **sizes)))
    fit(tmp_path, "graph", [RuntimeMonitor(skip_steps=0)], accumulate_grad_batches=2, max_epochs=1)
    kept = record(tmp_path)
    assert (kept["num_steps"], kept["batch_size"]) == (3, 16)
    assert kept["images_per_second"] == pytest.approx(16 / kept["train_step_seconds"])


def test_the_median_is_over_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that of the last one alone, which may have few timed steps."""
    times = iter([0, 1, 1, 2, 2, 3, 3, 12])
    monkeypatch.setattr(runtime, "_now", lambda device: next(times))
    fit(tmp_path, "graph", [RuntimeMonitor(skip_steps=0)])  # two epochs of two steps
    assert record(tmp_path)["train_step_seconds"] == 1


class Uncompiled:
    """Takes the place of CompiledTerms, without a compiler."""

    backend = "eager"

    def check(self, device: torch.device) -> None:
        pass

    def __call__(self, module: FlowModule, inputs: Sequence[Any]) -> dict[str, Tensor]:
        return module.training_terms(*inputs)


CHANGES = {
    "device": lambda patch: patch.setattr(runtime, "device_name", lambda device: "CPU (another), 1 thread"),
    "lightning_flows": lambda patch: patch.setattr(runtime, "__version__", "9.9.9"),
    "recompute": lambda patch: patch.setattr(ImageFlowModule, "recompute", True, raising=False),
    "compiled": lambda patch: patch.setattr(ImageFlowModule, "compiled_terms", Uncompiled()),
    "data_batch_size": lambda patch: patch.setattr(Stripes, "hparams", {"batch_size": 4}),
}


@pytest.mark.parametrize("changed", CHANGES)
def test_a_run_resumed_under_other_conditions_measures_times_again(
    changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Means of both would be attributed to the second."""
    trainer = fit(tmp_path, "sylvester", [RuntimeMonitor(skip_steps=1), SampleGrid(num_samples=2)])
    before = record(tmp_path)
    assert before["device"] == device_name(torch.device("cpu"))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    CHANGES[changed](monkeypatch)
    fit(tmp_path, "sylvester", [RuntimeMonitor(skip_steps=1)], tmp_path / "last.ckpt", max_epochs=3)
    after = record(tmp_path)
    assert after[changed] != before[changed]
    assert after["num_steps"] == 1
    assert "sample_seconds_per_image" not in after
    assert after["cpu_seconds"] > before["cpu_seconds"]  # a total


@pytest.mark.parametrize(("options", "num_timed"), [({}, 1), ({"skip_steps": 0}, 4), ({"num_steps": 0}, 0)])
def test_the_device_is_synchronized_in_timed_steps_only(
    tmp_path: Path, options: dict, num_timed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    synchronized = []
    monkeypatch.setattr(runtime, "_now", lambda device: synchronized.append(1) or len(synchronized))
    fit(tmp_path, "graph", [RuntimeMonitor(**options)])  # four steps
    assert len(synchronized) == 2 * num_timed
    assert ("train_step_seconds" in record(tmp_path)) is (num_timed > 0)
