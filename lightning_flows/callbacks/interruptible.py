"""Stop a run so that it can resume from the same step."""

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

from lightning_flows.callbacks.averaged_weights import AVERAGING
from lightning_flows.callbacks.last_checkpoint import is_resumable_after, last_checkpoint, save_last
from lightning_flows.training.signals import ENDING, Interrupted, interrupt

SIGNALS = (*ENDING, *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else []))
SECONDS_BETWEEN_REDUCTIONS = 1.0


class Interruptible(Callback):
    """On SIGTERM, SIGUSR1 or Ctrl-C finish the current step, write ``last.ckpt`` and exit. Requires a LastCheckpoint.

    ``--ckpt_path last`` resumes from it. All ranks stop after the same step, regardless of which one received the
    signal; they synchronize about once per second. A second Ctrl-C exits immediately. Validation is aborted after the
    current batch and rerun on resume, unless it uses averaged weights. ``last.ckpt`` is also written every few minutes,
    in case the process is killed. Evaluation outside of training exits immediately.

    With accumulated gradients, a run stops after the next optimizer step; once StochasticWeightAveraging has started,
    it stops at the end of an epoch. Lightning could not resume it earlier.
    Replaces Lightning's handlers while a loop runs, including those of Slurm's automatic requeue.

    Args:
        every_n_minutes: minutes between checkpoints within an epoch; 0 for none.

    >>> from lightning_flows.app.default_trainer import default_trainer
    >>> trainer = default_trainer(callbacks=[Interruptible(every_n_minutes=5.0)], logger=False)
    >>> [each.every_n_minutes for each in trainer.callbacks if isinstance(each, Interruptible)]
    [5.0]
    """

    def __init__(self, every_n_minutes: float = 10.0) -> None:
        self.every_n_minutes = every_n_minutes
        self._reset()

    def _reset(self) -> None:
        self._signal: int | None = None
        self._stop_requested = self._save_requested = False
        self._saved_at = time.monotonic()
        self._is_saved = False  # whether last.ckpt is of the current step
        self._common_val_batches = 0
        self._rewind: str | None = None  # what the checkpoint being written must count as not yet started
        self._restart_clock()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install handlers in place of Lightning's, which restores the original ones at the end."""
        self._reset()
        self._listen(self._request)
        environment = getattr(trainer.strategy, "cluster_environment", None)
        if isinstance(environment, SLURMEnvironment) and environment.auto_requeue:
            rank_zero_info("on SIGUSR1 the run writes last.ckpt and stops; Slurm does not requeue it automatically")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._listen(interrupt)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._listen(interrupt)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self._is_saved = False
        self._synchronize(trainer, pl_module)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Save and stop if requested: the last step is logged, and any validation after it is done."""
        if not (self._save_requested or self._stop_requested):
            return
        if batch_idx and not is_resumable_after(trainer, batch_idx - 1):
            return
        if not self._is_saved:
            self._save(trainer, rewind="train")
        self._save_requested = False
        if self._stop_requested:
            self._stop(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._note_saved()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the batches that all ranks have; outside of training, exit on a signal."""
        if trainer.state.fn is not TrainerFn.FITTING:
            self._listen(interrupt)
            return
        batches = sum(int(min(num, 2**31)) for num in trainer.num_val_batches)  # inf for an endless loader
        if trainer.world_size > 1:
            batches = int(trainer.strategy.reduce(torch.tensor(batches, device=pl_module.device), reduce_op="min"))
        self._common_val_batches = batches
        self._restart_clock()

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *args: Any
    ) -> None:
        training = trainer.state.fn is TrainerFn.FITTING and not trainer.sanity_checking
        if not training or trainer.fit_loop.batch_idx < 0 or batch_idx >= self._common_val_batches:
            return
        self._synchronize(trainer, pl_module)
        swapped = any(isinstance(one, AVERAGING) for one in trainer.callbacks)  # type: ignore[attr-defined]
        if self._stop_requested and not swapped and self._is_resumable(trainer):
            self._save(trainer, rewind="validation")
            self._stop(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restart_clock()
        if trainer.state.fn is TrainerFn.FITTING and not trainer.sanity_checking and self._is_resumable(trainer):
            self._note_saved()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Count a batch that was fetched, or a validation that was aborted, as not yet started."""
        loops = checkpoint["loops"]["fit_loop"]
        if self._rewind == "train":
            progress = loops["epoch_loop.batch_progress"]
            progress["is_last_batch"] = False
            for counts in (progress["total"], progress["current"]):
                counts["ready"] -= 1
        elif self._rewind == "validation":  # its partial sums are not in the checkpoint
            progress = loops["epoch_loop.val_loop.batch_progress"]
            for counts in (progress["total"], progress["current"]):
                counts.update(ready=1, started=1, processed=0, completed=0)

    def _listen(self, handler: Callable[[int, FrameType | None], None]) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS if handler == self._request else ENDING:
                signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self._signal == number == signal.SIGINT:
            interrupt(number, frame)
        self._signal = number

    def _synchronize(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Decide whether to save or stop; multiple ranks reduce their requests after equal numbers of calls."""
        wishes = [self._signal is not None, 0 < 60 * self.every_n_minutes < time.monotonic() - self._saved_at]
        self._calls += 1
        if trainer.world_size > 1:
            if self._calls < self._calls_between_reductions:
                return
            seconds = (time.monotonic() - self._started) / self._calls
            wanted = torch.tensor([*wishes, seconds], dtype=torch.float32, device=pl_module.device)
            *wishes, seconds = trainer.strategy.reduce(wanted, reduce_op="max").tolist()
            self._restart_clock(max(1, int(SECONDS_BETWEEN_REDUCTIONS / max(seconds, 1e-6))))
        self._stop_requested |= bool(wishes[0])
        self._save_requested |= bool(wishes[1])

    def _restart_clock(self, calls: int = 1) -> None:
        self._calls_between_reductions, self._calls, self._started = calls, 0, time.monotonic()

    def _is_resumable(self, trainer: Trainer) -> bool:
        """Whether a run can resume after the validation that runs."""
        return trainer.is_last_batch or is_resumable_after(trainer, trainer.fit_loop.batch_idx)

    def _note_saved(self) -> None:
        """Remember that LastCheckpoint writes the current step."""
        self._is_saved, self._saved_at = True, time.monotonic()

    def _save(self, trainer: Trainer, rewind: str) -> None:
        self._rewind = rewind
        save_last(trainer)
        self._rewind = None
        self._note_saved()

    def _stop(self, trainer: Trainer) -> None:
        if trainer.is_global_zero:
            path = last_checkpoint(trainer)
            kept = f"--ckpt_path=last resumes from {path}" if path else "the run keeps no checkpoints"
            print(f"stopped after step {trainer.global_step}, as requested: {kept}", file=sys.stderr, flush=True)
        code = 130 if self._signal == signal.SIGINT else 0
        raise Interrupted(self._signal or signal.SIGTERM, code, is_reported=True)
