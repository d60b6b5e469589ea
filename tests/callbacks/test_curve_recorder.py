"""Curves are recorded once for every logger, without gaps, and equal those of TensorBoard."""

import json
from pathlib import Path

import pytest
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from lightning_flows.app.cli import run
from lightning_flows.callbacks import CurveRecorder
from lightning_flows.errors import OutputError
from lightning_flows.reporting.tables.curve_file import CURVES, read_curve_file
from lightning_flows.reporting.tables.events import read_scalars
from lightning_flows.reporting.tables.runs import read_run, read_runs
from tests.callbacks.test_monitors import fit


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / CURVES).read_text().splitlines()]


@pytest.mark.parametrize("options", [{}, {"val_check_interval": 1}, {"accumulate_grad_batches": 2}, {"max_epochs": 3}])
def test_curves_equal_those_of_tensorboard(tmp_path: Path, options: dict[str, int]) -> None:
    fit(tmp_path, "graph", [CurveRecorder()], **{"log_every_n_steps": 1} | options)
    logged, recorded = read_scalars(tmp_path).curves, read_curve_file(tmp_path).curves
    for tag in ("train/loss", "train/nll", "val/loss", "val/nll", "val/gap"):
        assert [step for step, _ in recorded[tag]] == [step for step, _ in logged[tag]], tag
        assert [value for _, value in recorded[tag]] == pytest.approx([value for _, value in logged[tag]], rel=1e-6)
    assert set(recorded["epoch"]) <= set(logged["epoch"])


def test_only_logged_steps_are_recorded(tmp_path: Path) -> None:
    fit(tmp_path, "graph", [CurveRecorder()], log_every_n_steps=3)  # two epochs of two steps
    assert [line["step"] for line in lines(tmp_path) if "train/loss" in line] == [2]
    assert [(line["step"], line["epoch"]) for line in lines(tmp_path) if "val/loss" in line] == [(1, 0), (3, 1)]


def test_two_loggers_leave_one_curve(tmp_path: Path) -> None:
    loggers = [CSVLogger(tmp_path, "", "run"), TensorBoardLogger(tmp_path, "", "run", default_hp_metric=False)]
    fit(tmp_path, "graph", [CurveRecorder()], logger=loggers)
    (found,) = read_runs(tmp_path)
    assert [step for step, _ in found.curve("val/loss")] == [1, 3]
    assert len(lines(tmp_path / "run")) == 6


def test_every_run_has_curves_without_a_logger_and_when_resumed(tiny: list[str], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["fit", *tiny, "--trainer.logger=false", "--ckpt_path=last", "--trainer.callbacks=[]"]
    run(options)
    run([*options, "--trainer.max_epochs=2"])
    found = read_run(Path("runs/flow/version_0"))
    assert [step for step, _ in found.curve("val/bpd")] == [2, 5]
    assert [step for step, _ in found.curve("train/bpd")] == [0, 1, 2, 3, 4, 5]


def test_checkpoints_elsewhere_do_not_move_the_curves(tiny: list[str], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    keeper = '{"class_path": "ModelCheckpoint", "init_args": {"dirpath": "kept", "monitor": "val/loss"}}'
    run(["fit", *tiny, "--trainer.logger=false", f"--trainer.callbacks=[{keeper}]"])
    assert [path.parent for path in Path().rglob(CURVES)] == [Path("runs/flow/version_0")]


class Ends(Callback):
    """Raise in a training step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == self.step:
            raise KeyError("ends")


def test_an_exception_leaves_the_curve_up_to_it(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="ends"):
        fit(tmp_path, "graph", [CurveRecorder(), Ends(3)])
    assert [line["step"] for line in lines(tmp_path) if "train/loss" in line] == [0, 1, 2]


class Saves(Callback):
    """Saves a checkpoint within an epoch, and then ends as a killed process does: without its other hooks."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == 2:
            trainer.save_checkpoint(Path(trainer.default_root_dir) / "within.ckpt")
            raise Killed


class Killed(BaseException):
    """Ends a trainer without on_exception."""


@pytest.mark.parametrize("writable", [True, False])
def test_a_checkpoint_comes_with_the_curve_up_to_it(tmp_path: Path, monkeypatch, *, writable: bool) -> None:
    monkeypatch.setattr(CurveRecorder, "on_exception", lambda *args: None)
    if not writable:
        (tmp_path / CURVES).mkdir()
    with pytest.raises(Killed):
        fit(tmp_path, "graph", [CurveRecorder(), Saves()])
    assert (tmp_path / "within.ckpt").is_file()
    if writable:
        assert [line["step"] for line in lines(tmp_path) if "train/loss" in line] == [0, 1]


def test_the_exception_is_the_one_reported_if_the_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / CURVES).mkdir()
    with pytest.raises(KeyError, match="ends"):
        fit(tmp_path, "graph", [CurveRecorder(), Ends(1)])


def test_a_file_that_cannot_be_written_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / CURVES).mkdir()
    with pytest.raises(OutputError, match=CURVES):
        fit(tmp_path, "graph", [CurveRecorder()])


@pytest.mark.parametrize("folder", [None, "kept"])
def test_a_trainer_without_a_folder_of_its_own_records_nothing(tmp_path: Path, folder: str | None) -> None:
    keeper = ModelCheckpoint(folder and tmp_path / folder)
    fit(tmp_path, "graph", [CurveRecorder(), keeper], logger=False, enable_checkpointing=True)
    assert not list(tmp_path.rglob(CURVES))


def test_a_trial_records_nothing(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    fit(tmp_path, "graph", [CurveRecorder()], fast_dev_run=True)
    assert not (tmp_path / CURVES).exists()


def test_nothing_is_recorded_in_the_sanity_check_and_on_other_ranks(tmp_path: Path, monkeypatch) -> None:
    fit(tmp_path / "a", "graph", [CurveRecorder()], num_sanity_val_steps=1, max_epochs=1)
    assert [line["step"] for line in lines(tmp_path / "a") if "val/loss" in line] == [1]
    monkeypatch.setattr("lightning.pytorch.Trainer.is_global_zero", False)
    fit(tmp_path / "b", "graph", [CurveRecorder()])
    assert not (tmp_path / "b" / CURVES).exists()
