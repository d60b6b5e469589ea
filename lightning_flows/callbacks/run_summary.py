"""Messages at the start and end of training."""

import math
from contextlib import suppress
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from lightning_flows.callbacks.base import run_folder
from lightning_flows.checkpoints import read_file
from lightning_flows.checkpoints.averaging import averaging_in
from lightning_flows.errors import FlowsError

FEW_STEPS = 500  # a training of fewer steps causes a warning
MISSED = 0.01  # and so does one in which a larger share of steps comes after the last validation


class RunSummary(Callback):
    """Print the model's class and size and the run folder at the start, the best checkpoint and images at the end.

    It also warns of a training of few steps, without a validation, or with many steps after the last one, and explains
    why training ended early, or why nothing was trained.

    >>> from lightning_flows.app.default_trainer import default_trainer
    >>> kinds = [type(each) for each in default_trainer(logger=False).callbacks]  # every run has it
    >>> kinds.count(RunSummary), kinds.index(RunSummary) < kinds.index(ModelCheckpoint)
    (1, True)
    """

    def __init__(self) -> None:
        self._first_step: int | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._first_step = None
        # on other ranks a logger would increment its version
        run = f"; run: {_short(run_folder(trainer))}" if trainer.is_global_zero and not trainer.fast_dev_run else ""  # type: ignore[attr-defined]
        size = sum(p.numel() for p in pl_module.parameters())
        rank_zero_info(f"{type(pl_module).__name__}, {size:,} parameters{run}")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._first_step = trainer.global_step
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            _warn_of_training(trainer)
        for stopping in trainer.early_stopping_callbacks:
            if isinstance(stopping, EarlyStopping):
                stopping.stopping_reason_message = None  # of the run that resumes

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._first_step in (None, trainer.global_step):
            rank_zero_info(_why_nothing(trainer))
        for stopping in trainer.early_stopping_callbacks:
            if isinstance(stopping, EarlyStopping) and stopping.stopping_reason_message:
                rank_zero_info(f"early stopping: {' '.join(stopping.stopping_reason_message.split())}")
        for callback in trainer.checkpoint_callbacks if trainer.is_global_zero else []:
            if isinstance(callback, ModelCheckpoint) and callback.best_model_path:
                name = "best" if callback.monitor else "checkpoint"  # without a metric, it is the latest
                score = callback.best_model_score
                shown = "" if score is None else f" ({callback.monitor} {score.item():.5g})"
                print(f"{name}: {_short(Path(callback.best_model_path))}{shown}{_averaging(callback.best_model_path)}")
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            for name, path in _drawn(run_folder(trainer)):
                print(f"{name}: {_short(path)}")


def _warn_of_training(trainer: Trainer) -> None:
    steps = trainer.estimated_stepping_batches
    if 0 < steps < FEW_STEPS:
        rank_zero_warn(
            f"training has only {steps} steps in all, which rarely suffices: raise --data.steps_per_epoch, "
            "--trainer.max_epochs or --trainer.max_steps, or lower --data.batch_size"
        )
    monitored = [each.monitor for each in trainer.checkpoint_callbacks if isinstance(each, ModelCheckpoint)]
    if not trainer.enable_validation and any(str(name).startswith("val/") for name in monitored):
        off = trainer.limit_val_batches == 0
        advice = "omit --trainer.limit_val_batches=0" if off else "give the data module a val_dataloader"
        rank_zero_warn(f"there is no validation, so there will be no best.ckpt: {advice}")
    epochs_before = (trainer.check_val_every_n_epoch or 1) - 1
    first = epochs_before * trainer.num_training_batches + trainer.val_check_batch  # in batches
    if trainer.enable_validation and 0 < steps * trainer.accumulate_grad_batches < first:
        rank_zero_warn(
            f"training ends after {steps} steps, before the first validation, so there will be no best.ckpt: lower "
            "--data.steps_per_epoch or --trainer.val_check_interval"
        )
    _warn_of_missed_steps(trainer, steps)


def _warn_of_missed_steps(trainer: Trainer, steps: float) -> None:
    """Warn of steps after the last validation, if validations are at the ends of epochs."""
    batches, epochs = trainer.num_training_batches, trainer.check_val_every_n_epoch
    if not (trainer.enable_validation and epochs and trainer.val_check_batch == batches):
        return
    if not (math.isfinite(batches) and math.isfinite(steps)):
        return
    period = epochs * math.ceil(batches / trainer.accumulate_grad_batches)
    if steps > period and (missed := steps % period) > MISSED * steps:
        lower = "--data.steps_per_epoch" + (" or --trainer.check_val_every_n_epoch" if epochs > 1 else "")
        rank_zero_warn(
            f"the last {missed} of {steps} steps come after the last validation, so best.ckpt cannot include them: set "
            f"--trainer.max_steps to a multiple of {period}, or lower {lower}"
        )


def _drawn(folder: Path) -> list[tuple[str, Path]]:
    """What a user wants to see first: the figure of a density, and the latest samples."""
    figures, samples = folder.glob("density.png"), sorted(folder.glob("samples/epoch_*.png"))
    return [("density", path) for path in figures] + [("samples", path) for path in samples[-1:]]


def _why_nothing(trainer: Trainer) -> str:
    if trainer.ckpt_path:
        return (
            f"nothing was left to train after {trainer.global_step} steps: max_epochs, max_steps, max_time and the "
            "patience of EarlyStopping count the whole training; raise or omit the one that is reached"
        )
    return "nothing was trained: max_epochs, max_steps, max_time or limit_train_batches allow no step"


def _averaging(path: str) -> str:
    """How the weights in a checkpoint were averaged, if they were and it can still be read."""
    with suppress(FlowsError):
        averaged = averaging_in(read_file(path))
        return f": {averaged}" if averaged else ""
    return ""


def _short(path: Path) -> str:
    """A path as a user types it."""
    path, here = path.absolute(), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
