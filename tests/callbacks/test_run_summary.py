"""What a training prints."""

import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import EarlyStopping

from lightning_flows.app.cli import run
from lightning_flows.app.default_trainer import default_trainer
from lightning_flows.callbacks.run_summary import RunSummary, _warn_of_missed_steps
from tests.callbacks.test_last_checkpoint import train
from tests.interrupted import STEPS


@pytest.fixture
def checkpoint(trained: Path, tmp_path: Path) -> Path:
    """A writable copy of a run folder."""
    shutil.copytree(trained.parents[1], tmp_path / "run")
    return tmp_path / "run/checkpoints/best.ckpt"


def test_fit_prints_folder_checkpoint_and_samples(tiny, tmp_path: Path, capsys, caplog, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    trainer = run(["fit", *tiny, "--trainer.logger.init_args.save_dir=here"]).trainer
    score = f"{trainer.callback_metrics['val/bpd'].item():.5g}"
    assert capsys.readouterr().out.splitlines() == [
        f"best: here/demo/version_0/checkpoints/best.ckpt (val/loss {score})",
        "samples: here/demo/version_0/samples/epoch_0000.png",
    ]
    assert "parameters; run: here/demo/version_0" in caplog.text


def test_without_a_metric_the_checkpoint_is_not_called_best(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    trainer = train(tmp_path, max_epochs=1, monitored=False)
    (path,) = tmp_path.glob("checkpoints/epoch=*.ckpt")
    assert capsys.readouterr().out.splitlines()[0] == f"checkpoint: {path.relative_to(tmp_path)}"
    assert path.name == f"epoch=0-step={trainer.global_step}.ckpt"


@pytest.mark.parametrize(
    ("files", "printed"),
    [
        (["latents.png"], ""),
        (["samples/epoch_0009.png", "samples/epoch_0010.png"], "samples: run/samples/epoch_0010.png\n"),
        (["density.png", "samples/epoch_0000.png"], "density: run/density.png\nsamples: run/samples/epoch_0000.png\n"),
    ],
)
def test_what_to_look_at_first(files: list[str], printed: str, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for file in files:
        path = Path("run", file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    options = {"enable_checkpointing": False, "logger": False, "enable_progress_bar": False}
    trainer = default_trainer(default_root_dir="run", **options)
    RunSummary().on_fit_end(trainer, LightningModule())
    assert capsys.readouterr().out == printed


def test_resuming_a_finished_run_is_reported(checkpoint: Path, tiny, tmp_path: Path, caplog) -> None:
    options = [*tiny, f"--trainer.logger.init_args.save_dir={tmp_path}"]
    run(["fit", *options, f"--ckpt_path={checkpoint.with_name('last.ckpt')}"])
    assert "nothing was left to train after 3 steps" in caplog.text


def test_early_stopping_reports_the_reason(tiny: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stopping = "--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=val/loss"
    options = ["--trainer.callbacks.patience=1", "--trainer.callbacks.min_delta=99", "--trainer.max_epochs=5"]
    run(["fit", *tiny, f"--trainer.logger.init_args.save_dir={tmp_path}", *stopping, *options])
    assert "early stopping: Monitored metric val/loss did not improve in the last 1 records" in caplog.text


def test_early_stopping_is_reported_by_the_run_that_it_ends(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reached = EarlyStopping("val/loss", stopping_threshold=99.0)  # in the first epoch
    train(tmp_path, reached)
    assert "early stopping: Stopping threshold reached" in caplog.text
    caplog.clear()
    train(tmp_path, EarlyStopping("val/loss", patience=9), ckpt_path=tmp_path / "last.ckpt", max_epochs=2)
    assert "early stopping" not in caplog.text


@pytest.mark.parametrize(
    ("options", "warned"), [({}, True), ({"max_epochs": -1, "max_steps": 2}, True), ({"fast_dev_run": True}, False)]
)
def test_a_training_of_few_steps_causes_a_warning(
    options: dict[str, Any], warned: bool, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    train(tmp_path, **options)
    steps = options.get("max_steps", 4 * STEPS)
    text = f"training has only {steps} steps in all, which rarely suffices: raise --data.steps_per_epoch"
    assert any(text in str(warning.message) for warning in recwarn) is warned


def test_a_training_of_many_steps_causes_no_warning(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    train(tmp_path, max_epochs=1000, max_time={"seconds": 0})
    assert not any("steps in all" in str(warning.message) for warning in recwarn)


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        ({"max_epochs": 1}, False),
        ({"max_epochs": -1, "max_steps": STEPS}, False),
        ({"max_epochs": -1, "max_steps": STEPS - 1}, True),
        ({"max_epochs": -1, "max_steps": STEPS - 1, "val_check_interval": STEPS - 1}, False),
        ({"max_epochs": -1, "max_steps": STEPS - 1, "limit_val_batches": 0}, False),
        ({"max_epochs": 1, "accumulate_grad_batches": 2}, False),
        ({"max_epochs": 1, "check_val_every_n_epoch": 2}, True),
    ],
)
def test_a_training_without_a_validation_causes_a_warning(
    options: dict[str, Any], warned: bool, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    validated = options.get("limit_val_batches") != 0
    trainer = train(tmp_path, monitored=validated, **options)
    text = f"training ends after {trainer.global_step} steps, before the first validation"
    assert any(text in str(warning.message) for warning in recwarn) is warned
    assert (tmp_path / "best.ckpt").exists() is (validated and not warned)


@pytest.mark.parametrize(
    ("options", "missed"),
    [
        ({"max_epochs": 3, "check_val_every_n_epoch": 2}, STEPS),
        ({"max_epochs": -1, "max_steps": 3 * STEPS - 1}, STEPS - 1),
        ({"max_epochs": -1, "max_steps": 3 * STEPS - 1, "limit_val_batches": 0}, 0),
        ({"max_epochs": 4, "check_val_every_n_epoch": 2}, 0),
        ({"max_epochs": 2, "accumulate_grad_batches": 2}, 0),
        ({"max_epochs": -1, "max_steps": STEPS - 1}, 0),  # there is no validation at all
        (
            {
                "max_epochs": -1,
                "max_steps": 3 * STEPS - 1,
                "val_check_interval": STEPS,
                "check_val_every_n_epoch": None,
            },
            0,
        ),
    ],
)
def test_steps_after_the_last_validation_cause_a_warning(
    options: dict[str, Any], missed: int, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    trainer = train(tmp_path, monitored=options.get("limit_val_batches") != 0, **options)
    found = [str(warning.message) for warning in recwarn if "come after the last validation" in str(warning.message)]
    assert [text.partition(" steps")[0] for text in found] == [f"the last {missed} of {trainer.global_step}"] * bool(
        missed
    )
    if missed:
        assert torch.load(tmp_path / "best.ckpt", weights_only=False)["global_step"] == trainer.global_step - missed


def test_data_of_unknown_length_cause_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    trainer = SimpleNamespace(
        enable_validation=True, num_training_batches=math.inf, val_check_batch=math.inf, check_val_every_n_epoch=1,
        accumulate_grad_batches=1,
    )  # fmt: skip
    _warn_of_missed_steps(trainer, 1000)  # type: ignore[arg-type]
    assert not recwarn.list
