"""Stopping a run such that it can go on where it was."""

import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from torch import distributed

from lightning_flows.callbacks.last_checkpoint import last_checkpoint, save_last
from lightning_flows.training.signals import ENDING, Interrupted, interrupt

SIGNALS = (*ENDING, *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else []))


class Interruptible(Callback):
    """On SIGTERM, SIGUSR1 or Ctrl-C finish the current step, write ``last.ckpt`` and exit.

    ``--ckpt_path last`` resumes from it. All ranks stop after the same step, no matter which one got the signal; a
    second Ctrl-C exits immediately. Validation is aborted after the current batch and rerun on resume. ``last.ckpt`` is
    also written every few minutes, in case the process is killed. Evaluation outside of training has nothing to save
    and ends immediately.

    Replaces Lightning's handlers while a loop runs, including those of Slurm's automatic requeue.

    Args:
        every_n_minutes: time between two checkpoints within an epoch; 0 for none.
    """

    def __init__(self, every_n_minutes: float = 10.0) -> None:
        self.every_n_minutes = every_n_minutes
        self._reset()

    def _reset(self) -> None:
        self._signal: int | None = None
        self._last_time = time.monotonic()
        self._common_val_batches = 0
        self._leaves_validation = False
        self._stops = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install handlers in place of Lightning's, which restores the original ones at the end."""
        self._reset()
        self._listen(self._ask)
        environment = getattr(trainer.strategy, "cluster_environment", None)
        if isinstance(environment, SLURMEnvironment) and environment.auto_requeue:
            rank_zero_info(
                "on SIGUSR1 the run writes last.ckpt and stops; it is not put into Slurm's queue again by itself"
            )

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Exit on a signal."""
        self._listen(interrupt)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Exit on a signal."""
        self._listen(interrupt)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Stop, once the last step is done and logged."""
        if self._stops:
            self._stop(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write if it is time to."""
        loop = trainer.fit_loop.epoch_loop
        validates = loop._should_check_val_fx(trainer.fit_loop._data_fetcher)  # type: ignore[arg-type]
        if validates or loop.batch_progress.is_last_batch or loop._should_accumulate():
            return  # resuming here would skip the validation, or lose accumulated gradients
        due = 0 < 60 * self.every_n_minutes < time.monotonic() - self._last_time
        if self._any_rank(trainer, self._signal is not None or due):
            # Lightning logs a step only after this hook: a kill in between would leave a gap in the curves
            trainer._logger_connector.update_train_step_metrics()
            self._save(trainer)
            self._stops = self._any_rank(trainer, self._signal is not None)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the batches that all ranks have; outside of training, exit on a signal."""
        if trainer.state.fn is not TrainerFn.FITTING:
            self._listen(interrupt)
            return
        batches = sum(int(min(num, 2**31)) for num in trainer.num_val_batches)  # inf for an endless loader
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
        """Write and stop if asked to."""
        training = trainer.state.fn is TrainerFn.FITTING and not trainer.sanity_checking
        if not training or not trainer.fit_loop.epoch_loop.batch_progress.current.ready:
            return
        if batch_idx < self._common_val_batches and self._any_rank(trainer, self._signal is not None):
            self._leaves_validation = True
            self._save(trainer)
            self._stop(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Make resuming rerun an aborted validation, whose partial sums are not in the checkpoint."""
        if self._leaves_validation:
            for progress in ("total", "current"):
                state = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"][progress]
                state.update(ready=1, started=1, processed=0, completed=0)

    def _listen(self, handler: Callable[[int, FrameType | None], None]) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS if handler == self._ask else ENDING:
                signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._signal == number == signal.SIGINT:
            interrupt(number, frame)
        self._signal = number

    def _any_rank(self, trainer: Trainer, here: bool) -> bool:
        return trainer.strategy.reduce_boolean_decision(here, all=False) if trainer.world_size > 1 else here

    def _save(self, trainer: Trainer) -> None:
        save_last(trainer)
        self._last_time = time.monotonic()

    def _stop(self, trainer: Trainer) -> None:
        if trainer.is_global_zero:
            path = last_checkpoint(trainer)
            kept = f"{path} is written; --ckpt_path=last resumes there" if path else "the run keeps no checkpoints"
            print(f"stopped after step {trainer.global_step}, as asked: {kept}", file=sys.stderr, flush=True)
        raise Interrupted(self._signal or signal.SIGTERM, 130 if self._signal == signal.SIGINT else 0)
