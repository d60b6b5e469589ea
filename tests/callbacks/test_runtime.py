import json

import pytest
import torch

from lightning_flows.callbacks import RuntimeMonitor
from tests.callbacks.test_sample_grid import fit
from tests.small_modules import image_module


def test_medians_are_logged_and_kept(tmp_path) -> None:
    trainer = fit(tmp_path, image_module(), [RuntimeMonitor(skip_steps=1, num_samples=3)])
    (path,) = tmp_path.rglob("runtime.json")
    record = json.loads(path.read_text())
    assert record["batch_size"] == 8
    assert record["num_samples"] == 3
    assert record["num_devices"] == 1
    assert record["images_per_second"] * record["train_step_seconds"] == pytest.approx(8)
    logged = trainer.callback_metrics
    for name in ("train_step_seconds", "images_per_second", "sample_seconds_per_image"):
        torch.testing.assert_close(logged[f"runtime/{name}"].item(), record[name], rtol=1e-5, atol=0)


def test_warm_up_is_not_timed(tmp_path) -> None:
    monitor = RuntimeMonitor(skip_steps=2, num_samples=0)  # an epoch has two steps
    fit(tmp_path, image_module(), [monitor])
    assert monitor.results == {}
