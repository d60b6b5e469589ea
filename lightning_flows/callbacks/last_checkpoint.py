"""The checkpoint from which a run resumes."""

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.loops.fit_loop import _FitLoop
from lightning.pytorch.loops.loop import _Loop
from lightning.pytorch.trainer.states import TrainerFn

from lightning_flows.errors import UsageError


class LastCheckpoint(Checkpoint):
    """Write ``last.ckpt`` next to the best checkpoint after each validation and each epoch, regardless of the metric.

    Lightning's ``save_last`` copies the last *best* checkpoint instead. Requires a ModelCheckpoint.
    An epoch that max_steps, max_time or a callback cut short is completed on resume.

    Raises: UsageError if a run resumes within an epoch whose number of batches has changed.
    """

    def __init__(self) -> None:
        self.has_trained = False
        self._num_batches: float | None = None

    @property
    def state_key(self) -> str:
        """A single key: all instances share their state."""
        return "LastCheckpoint"

    def state_dict(self) -> dict[str, Any]:
        """The number of batches per epoch, needed to resume within an epoch."""
        return {"num_batches": self._num_batches}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the number of batches of the checkpoint's run."""
        self._num_batches = state_dict.get("num_batches")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset."""
        self.has_trained = False

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the place within an epoch that was cut short, which Lightning counts as done."""
        batches = trainer.fit_loop.epoch_loop.batch_progress
        if batches.is_last_batch or not 0 < batches.current.ready < trainer.num_training_batches:
            return
        epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]
        for counts in (epochs["total"], epochs["current"]):
            for key in ("processed", "completed"):
                counts[key] = min(counts[key], counts["started"] - 1)
        checkpoint["epoch"] = epochs["current"]["completed"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse to resume within an epoch whose number of batches has changed."""
        if trainer.fit_loop.restarted_on_epoch_end:
            _start_next_epoch(trainer.fit_loop)
        now, before = float(trainer.num_training_batches), self._num_batches
        done = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        if isinstance(before, int | float) and 0 < done < before and now != before:
            raise UsageError(
                f"the checkpoint was written after {done} of {before:g} batches of an epoch, which has {now:g} now, so "
                "its place in the data is lost: resume with the batch size, the devices and the data of before, or "
                "from a checkpoint of an epoch's end"
            )
        self._num_batches = now

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Remember that at least one step was trained."""
        self.has_trained = True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write, unless the epoch ends right after."""
        within = trainer.state.fn is TrainerFn.FITTING and not trainer.sanity_checking
        if within and not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            save_last(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write."""
        save_last(trainer)


def _start_next_epoch(loop: _FitLoop) -> None:
    """Go on behind a whole epoch: with max_steps, Lightning would count another one, without batches."""
    _Loop.restarting.fset(loop, False)  # type: ignore[attr-defined]  # its own setter says True again
    loop.update_restart_stage()
    loop.epoch_progress.increment_completed()


def save_last(trainer: Trainer) -> None:
    """Write ``last.ckpt``, a collective call; a trial run (fast_dev_run) keeps no checkpoints."""
    if (path := last_checkpoint(trainer)) and not trainer.fast_dev_run:  # type: ignore[attr-defined]
        trainer.save_checkpoint(path, weights_only=False)


def last_checkpoint(trainer: Trainer) -> Path | None:
    """Path of a run's ``last.ckpt``; None if it keeps no checkpoints."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.dirpath:
            return Path(callback.dirpath) / f"{callback.CHECKPOINT_NAME_LAST}{callback.FILE_EXTENSION}"
    return None
