"""Stopping a run such that it can go on where it was."""

import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import distributed

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Interrupted(SystemExit):
    """A run that was asked to stop and has: status 0, or 130 for Ctrl-C."""


class Interruptible(Callback):
    """When asked to, stop after the step at hand, with a checkpoint from which ``--ckpt_path last`` goes on.

    SIGTERM, as containers and clusters send it, SIGUSR1 and Ctrl-C ask; a second Ctrl-C stops at once. All ranks stop
    after the same step, whichever was asked. Validation is left after the batch at hand, and made anew by the run that
    goes on. Between signals ``last.ckpt`` is written every some minutes, for a process that is killed without a word.

    Args:
        every_n_minutes: time between two checkpoints within an epoch; 0 for none.
    """

    def __init__(self, every_n_minutes: float = 10.0) -> None:
        self.every_n_minutes = every_n_minutes
        self._signal: int | None = None
        self._last_time = 0.0
        self._common_val_batches = 0
        self._leaves_validation = False
        self._stops = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen, in place of Lightning's own handlers, which it takes back with its own at the end."""
        self._last_time = time.monotonic()
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self._ask)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Stop, after all of the last step is done and logged."""
        if self._stops:
            self._stop(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write, where it is time to."""
        loop = trainer.fit_loop.epoch_loop
        validates = loop._should_check_val_fx(trainer.fit_loop._data_fetcher)  # type: ignore[arg-type]
        if validates or loop.batch_progress.is_last_batch or loop._should_accumulate():
            return  # a run that goes on from here would skip the validation, or miss the gradients so far
        due = 0 < 60 * self.every_n_minutes < time.monotonic() - self._last_time
        if self._any_rank(trainer, self._signal is not None or due):
            self._save(trainer)
            self._stops = self._any_rank(trainer, self._signal is not None)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the batches that all ranks have."""
        batches = sum(int(min(num, 2**31)) for num in trainer.num_val_batches)  # without an end is inf
        count = torch.tensor(batches, device=pl_module.device)
        if trainer.world_size > 1:
            distributed.all_reduce(count, op=distributed.ReduceOp.MIN)
        self._common_val_batches = int(count)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write and stop, if asked to."""
        if trainer.sanity_checking or not trainer.fit_loop.epoch_loop.batch_progress.current.ready:
            return
        if batch_idx < self._common_val_batches and self._any_rank(trainer, self._signal is not None):
            self._leaves_validation = True
            self._save(trainer)
            self._stop(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Let a validation that is left be made anew: what it has summed up is not in a checkpoint."""
        if self._leaves_validation:
            for progress in ("total", "current"):
                state = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"][progress]
                state.update(ready=1, started=1, processed=0, completed=0)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._signal == number == signal.SIGINT:
            signal.default_int_handler(number, frame)
        self._signal = number

    def _any_rank(self, trainer: Trainer, here: bool) -> bool:
        return trainer.strategy.reduce_boolean_decision(here, all=False) if trainer.world_size > 1 else here

    def _save(self, trainer: Trainer) -> None:
        if path := last_checkpoint(trainer):
            trainer.save_checkpoint(path, weights_only=False)
        self._last_time = time.monotonic()

    def _stop(self, trainer: Trainer) -> None:
        if trainer.is_global_zero:
            path = last_checkpoint(trainer)
            kept = f"{path} is written; --ckpt_path=last goes on from there" if path else "nothing was to be written"
            print(f"stopped after step {trainer.global_step}, as asked: {kept}", file=sys.stderr, flush=True)
        raise Interrupted(130 if self._signal == signal.SIGINT else 0)


def last_checkpoint(trainer: Trainer) -> Path | None:
    """The file ``last.ckpt`` of a run; None for one that keeps no checkpoints."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.dirpath:
            return Path(callback.dirpath) / f"{callback.CHECKPOINT_NAME_LAST}{callback.FILE_EXTENSION}"
    return None
