"""The checkpoint from which a run resumes."""

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, ModelCheckpoint, StochasticWeightAveraging
from lightning.pytorch.trainer.states import TrainerFn

from lightning_flows.errors import UsageError


class LastCheckpoint(Checkpoint):
    """Write ``last.ckpt`` next to the best checkpoint after each validation and each epoch, regardless of the metric.

    Lightning's ``save_last`` copies the last *best* checkpoint instead, and is disabled. Requires a ModelCheckpoint.
    An epoch that max_steps, max_time or a callback ended early is completed on resume.

    Raises: UsageError if a run resumes within an epoch whose number of batches has changed, or if a ModelCheckpoint
        has the file name ``last``.

    >>> from contextlib import chdir
    >>> from tempfile import TemporaryDirectory
    >>> from lightning.pytorch.loggers import CSVLogger
    >>> from lightning_flows import AutoregressiveFlow, VectorFlowModule
    >>> from lightning_flows.app.default_trainer import default_trainer
    >>> from lightning_flows.data import ToyDataModule
    >>> options = {"max_epochs": 1, "enable_model_summary": False, "enable_progress_bar": False}
    >>> with TemporaryDirectory() as folder, chdir(folder):
    ...     trainer = default_trainer(logger=CSVLogger("."), **options)  # every run has it
    ...     trainer.fit(VectorFlowModule((2,), AutoregressiveFlow), ToyDataModule(steps_per_epoch=1))
    ...     sorted(path.name for path in Path().rglob("*.ckpt"))
    checkpoint: lightning_logs/version_0/checkpoints/epoch=0-step=1.ckpt
    ['epoch=0-step=1.ckpt', 'last.ckpt']
    """

    def __init__(self) -> None:
        self._num_batches: float | None = None

    @property
    def state_key(self) -> str:
        return "LastCheckpoint"  # shared by all instances

    def state_dict(self) -> dict[str, Any]:
        return {"num_batches": self._num_batches}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._num_batches = state_dict.get("num_batches")

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Reserve ``last.ckpt``."""
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint):
                if callback.filename == callback.CHECKPOINT_NAME_LAST:
                    raise UsageError(
                        "ModelCheckpoint has the filename 'last', reserved for LastCheckpoint: choose another"
                    )
                callback.save_last = None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the position within an epoch that ended early, which Lightning counts as done."""
        batches = trainer.fit_loop.epoch_loop.batch_progress
        if batches.is_last_batch or not 0 < batches.current.ready < trainer.num_training_batches:
            return
        epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]
        for counts in (epochs["total"], epochs["current"]):
            for key in ("processed", "completed"):
                counts[key] = min(counts[key], counts["started"] - 1)
        checkpoint["epoch"] = epochs["current"]["completed"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse to resume within an epoch whose number of batches has changed; end what early stopping has ended."""
        for one in trainer.early_stopping_callbacks if trainer.ckpt_path else []:
            trainer.should_stop |= isinstance(one, EarlyStopping) and one.wait_count >= max(1, one.patience)
        if trainer.fit_loop.restarted_on_epoch_end:
            _start_next_epoch(trainer)
        now, before = float(trainer.num_training_batches), self._num_batches
        done = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        if isinstance(before, int | float) and 0 < done < before and now != before:
            raise UsageError(
                f"the checkpoint was written after {done} of {before:g} batches of an epoch that now has {now:g}, so "
                "its position in the data is lost: resume with the same batch size, devices and data, or from a "
                "checkpoint written at the end of an epoch"
            )
        self._num_batches = now

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write ``last.ckpt``, unless the epoch ends right after."""
        within = trainer.state.fn is TrainerFn.FITTING and not trainer.sanity_checking
        if within and not trainer.is_last_batch and is_resumable_after(trainer, trainer.fit_loop.batch_idx):
            save_last(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        save_last(trainer)


def _start_next_epoch(trainer: Trainer) -> None:
    """Continue after a complete epoch: with max_steps, Lightning would count another one without batches."""
    loop = trainer.fit_loop
    max_steps, loop.epoch_loop.max_steps = loop.epoch_loop.max_steps, -1
    loop.restarting = False  # has no effect while there are max_steps
    loop.epoch_loop.max_steps = max_steps
    loop.update_restart_stage()
    loop.epoch_progress.increment_completed()


def is_resumable_after(trainer: Trainer, batch_idx: int) -> bool:
    """Whether a run can resume after a batch within an epoch.

    Accumulated gradients would be lost, as would the schedule of StochasticWeightAveraging once it has started.
    """
    averaging = [one for one in trainer.callbacks if isinstance(one, StochasticWeightAveraging)]  # type: ignore[attr-defined]
    accumulates = (batch_idx + 1) % trainer.accumulate_grad_batches != 0
    return not accumulates and not any(one.swa_start <= trainer.current_epoch for one in averaging)


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
