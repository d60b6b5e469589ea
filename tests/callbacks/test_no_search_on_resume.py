"""Finders of learning rates and batch sizes."""

from functools import reduce
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder, ModelCheckpoint

from tests.app.test_default_trainer import flow, plain
from tests.interrupted import Noise


@pytest.mark.parametrize(
    ("finder", "path", "value"),
    [
        (LearningRateFinder(num_training_steps=3), ("model", "init_args", "optimizer", "init_args", "lr"), 0.0005),
        (BatchSizeFinder(max_trials=1, steps_per_trial=1), ("data", "init_args", "batch_size"), 5),
    ],
)
def test_a_resumed_run_skips_searches(
    finder: Callback, path: tuple[str, ...], value: float, tmp_path: Path, caplog
) -> None:
    def section(checkpoint: dict) -> dict:
        return reduce(lambda found, key: found[key], path[:-1], checkpoint["lightning_flows"])

    def train(**options: object) -> Path:
        best = ModelCheckpoint(tmp_path, filename="best", enable_version_counter=False)
        flow_trainer = plain(default_root_dir=tmp_path, callbacks=[finder, best], enable_checkpointing=True, **options)
        resumed = tmp_path / "last.ckpt" if (tmp_path / "last.ckpt").exists() else None
        flow_trainer.fit(flow(), datamodule=Noise(batch_size=4, eval_batch_size=4), ckpt_path=resumed)
        assert finder in flow_trainer.callbacks
        return tmp_path / "last.ckpt"

    first = torch.load(train(max_epochs=1), weights_only=True)
    section(first)[path[-1]] = value
    torch.save(first, tmp_path / "last.ckpt")
    second = torch.load(train(max_epochs=2), weights_only=True)
    assert "is skipped, as the run resumes" in caplog.text
    assert section(second)[path[-1]] == value
    steps = [each["optimizer_states"][0]["state"][0]["step"] for each in (first, second)]
    assert steps[1] == second["global_step"] > steps[0] == first["global_step"]
