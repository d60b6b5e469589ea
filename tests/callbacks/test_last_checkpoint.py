"""last.ckpt is from the last step, regardless of validation and of how training ends."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, Timer

from lightning_flows.app.default_trainer import default_trainer
from lightning_flows.errors import UsageError
from lightning_flows.modules import ImageFlowModule
from tests.interrupted import STEPS, Noise
from tests.small_modules import image_module
from tests.versions import WEIGHTS_ONLY


class Scored(ImageFlowModule):
    """Log predefined scores after each validation."""

    scores: tuple[float, ...] = (3, 2, 4, 5, 6, 7, 8, 9, 10, 11)

    def on_validation_epoch_end(self) -> None:
        self.val_loss.reset()
        self.validations = getattr(self, "validations", 0)
        self.log("val/loss", float(self.scores[self.validations]))
        self.validations += 1


def train(
    folder: Path,
    *callbacks: Callback,
    batch_size: int = 4,
    ckpt_path: Path | None = None,
    monitored: bool = True,
    **options,
) -> Trainer:
    best = ModelCheckpoint(folder, monitor="val/loss", filename="best", save_last=True, enable_version_counter=False)
    trainer = default_trainer(
        **{"max_epochs": 4, "accelerator": "cpu", "logger": False, "num_sanity_val_steps": 0} | options,
        callbacks=[*callbacks, *([best] if monitored else [])],
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = image_module(kind=Scored)
    trainer.fit(module, Noise(batch_size=batch_size, eval_batch_size=4), ckpt_path=ckpt_path, **WEIGHTS_ONLY)
    return trainer


def step_of(path: Path) -> int:
    return torch.load(path, weights_only=True)["global_step"]


class StopAt(Callback):
    """Request the end of training after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        trainer.should_stop |= trainer.global_step == self.step


@pytest.mark.parametrize(
    ("options", "callbacks", "steps"),
    [
        ({}, [], 4 * STEPS),
        ({"max_steps": 2 * STEPS + 3}, [], 2 * STEPS + 3),
        ({"limit_val_batches": 0, "max_steps": STEPS + 1}, [], STEPS + 1),
        ({"val_check_interval": 2}, [], 4 * STEPS),
        ({"val_check_interval": 2, "max_epochs": -1, "max_steps": 3}, [], 3),
        ({"check_val_every_n_epoch": 3}, [], 4 * STEPS),
        ({"max_epochs": 9}, [EarlyStopping("val/loss", patience=1)], 3 * STEPS),
        ({"max_epochs": 9}, [StopAt(STEPS + 2)], STEPS + 2),
        ({"accumulate_grad_batches": 2}, [], 4 * 3),
    ],
)
def test_a_worsening_metric(tmp_path: Path, options: dict, callbacks: list[Callback], steps: int) -> None:
    trainer = train(tmp_path, *callbacks, **options)
    assert trainer.global_step == steps
    assert step_of(tmp_path / "last.ckpt") == steps
    if options.get("limit_val_batches", 1) and steps > 2 * STEPS and "check_val_every_n_epoch" not in options:
        assert step_of(tmp_path / "best.ckpt") < steps


def test_only_a_finished_run_reports_that_nothing_is_left_to_train(tmp_path: Path, caplog) -> None:
    train(tmp_path)
    assert "nothing was" not in caplog.text
    train(tmp_path, ckpt_path=tmp_path / "last.ckpt", max_epochs=6)
    assert "nothing was" not in caplog.text
    assert step_of(tmp_path / "last.ckpt") == 6 * STEPS
    train(tmp_path, ckpt_path=tmp_path / "last.ckpt", max_epochs=6)
    assert f"nothing was left to train after {6 * STEPS} steps" in caplog.text


def test_a_training_ended_by_early_stopping_resumes_only_with_more_patience(tmp_path: Path, caplog) -> None:
    last = tmp_path / "last.ckpt"
    train(tmp_path, EarlyStopping("val/loss", patience=1), max_epochs=9)
    assert train(tmp_path, EarlyStopping("val/loss", patience=1), ckpt_path=last, max_epochs=9).global_step == 3 * STEPS
    assert f"nothing was left to train after {3 * STEPS} steps" in caplog.text
    assert train(tmp_path, EarlyStopping("val/loss", patience=3), ckpt_path=last, max_epochs=9).global_step == 5 * STEPS


@pytest.mark.parametrize("ckpt_path", ["last", "best"])
def test_lightnings_names_of_checkpoints(tmp_path: Path, ckpt_path: str, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    trainer = train(tmp_path)
    trainer.fit_loop.max_epochs = 5
    trainer.fit(trainer.lightning_module, trainer.datamodule, ckpt_path=ckpt_path, **WEIGHTS_ONLY)
    assert trainer.global_step == 5 * STEPS


@pytest.mark.parametrize("save_last", [True, "link"])
def test_last_is_the_only_checkpoint_of_a_run_that_keeps_no_best(tmp_path: Path, save_last: bool | str) -> None:
    keeper = ModelCheckpoint(tmp_path, save_top_k=0, save_last=save_last)
    train(tmp_path, keeper, monitored=False)
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
    assert step_of(tmp_path / "last.ckpt") == 4 * STEPS


def test_the_name_last_is_reserved(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the filename 'last', reserved"):
        train(tmp_path, ModelCheckpoint(tmp_path, filename="last"))


@pytest.mark.parametrize("options", [{"max_epochs": 0}, {"max_steps": 0}, {"limit_train_batches": 0}])
def test_training_without_steps_is_reported(tmp_path: Path, options: dict, caplog) -> None:
    train(tmp_path, **options)
    assert "nothing was trained" in caplog.text


def test_an_exhausted_time_limit_is_reported(tmp_path: Path, caplog) -> None:
    train(tmp_path, Timer({"seconds": 1000}), max_epochs=1)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    state["callbacks"]["Timer"]["time_elapsed"]["train"] = 2000.0
    torch.save(state, tmp_path / "late.ckpt")
    trainer = train(tmp_path, Timer({"seconds": 1000}), ckpt_path=tmp_path / "late.ckpt")
    assert trainer.global_step == STEPS
    assert "nothing was left" in caplog.text


def test_a_renamed_folder_keeps_its_best_checkpoint(tmp_path: Path) -> None:
    train(tmp_path / "before")
    (tmp_path / "before").rename(tmp_path / "after")
    trainer = train(tmp_path / "after", ckpt_path=tmp_path / "after/last.ckpt", max_epochs=5)
    # its scores start with 3 and 2 again, which do not improve on the previous best, 2
    assert trainer.checkpoint_callback.best_model_score == 2
    assert Path(trainer.checkpoint_callback.best_model_path) == tmp_path / "after/best.ckpt"
    assert step_of(tmp_path / "after/best.ckpt") == 2 * STEPS
    assert not (tmp_path / "before").exists()


def test_a_run_from_another_run_s_checkpoint_has_its_own_best(tmp_path: Path) -> None:
    train(tmp_path / "first")
    trainer = train(tmp_path / "second", ckpt_path=tmp_path / "first/last.ckpt", max_epochs=5)
    assert Path(trainer.checkpoint_callback.best_model_path) == tmp_path / "second/best.ckpt"
    assert step_of(tmp_path / "first/best.ckpt") == 2 * STEPS


def test_paths_in_a_checkpoint_are_not_followed(tmp_path: Path) -> None:
    run, victim = tmp_path / "run", tmp_path / "victim"
    train(run)
    victim.mkdir()
    (victim / "precious.ckpt").write_text("precious")
    state = torch.load(run / "last.ckpt", weights_only=True)
    (key,) = (key for key in state["callbacks"] if key.startswith("ModelCheckpoint"))
    kept = state["callbacks"][key]
    for evil in (run / ".." / "victim", victim / "precious.ckpt", victim):
        kept["last_model_path"] = kept["best_model_path"] = kept["kth_best_model_path"] = str(evil)
        kept["best_k_models"] = {str(evil): torch.tensor(9.0)}
        torch.save(state, run / "last.ckpt")
        train(run, ckpt_path=run / "last.ckpt", max_epochs=5)
        assert (victim / "precious.ckpt").read_text() == "precious"


def test_a_different_number_of_batches_within_an_epoch_is_refused(tmp_path: Path) -> None:
    train(tmp_path, max_steps=STEPS + 3)
    with pytest.raises(UsageError, match="after 3 of 5 batches of an epoch that now has 1"):
        train(tmp_path, ckpt_path=tmp_path / "last.ckpt", batch_size=20)


def test_a_different_batch_size_at_the_end_of_an_epoch_is_accepted(tmp_path: Path) -> None:
    train(tmp_path, max_epochs=1)
    assert train(tmp_path, ckpt_path=tmp_path / "last.ckpt", batch_size=10).global_step == STEPS + 3 * 2


@pytest.mark.parametrize(
    ("cut", "callbacks"),
    [
        ({"max_steps": STEPS + 3}, []),
        ({"max_steps": 2 * STEPS}, []),
        ({"max_steps": 2 * STEPS, "val_check_interval": 2}, []),
        ({}, [StopAt(STEPS + 2)]),
        ({}, [StopAt(2 * STEPS)]),
    ],
)
@pytest.mark.parametrize("whole", [{}, {"max_steps": 4 * STEPS - 1}])
def test_an_epoch_that_ended_early_is_completed(
    tmp_path: Path, cut: dict, callbacks: list[Callback], whole: dict
) -> None:
    seed_everything(0, verbose=False)
    train(tmp_path / "whole", **whole)
    seed_everything(0, verbose=False)
    train(tmp_path / "cut", *callbacks, **cut)
    train(tmp_path / "cut", ckpt_path=tmp_path / "cut/last.ckpt", **whole)
    expected, got = (torch.load(tmp_path / name / "last.ckpt", weights_only=True) for name in ("whole", "cut"))
    assert got["global_step"] == expected["global_step"]
    torch.testing.assert_close(got["state_dict"], expected["state_dict"], rtol=0, atol=0)
    epochs = [each["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"] for each in (expected, got)]
    assert epochs[0] == epochs[1]
