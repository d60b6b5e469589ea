"""Progress without a terminal."""

import math
import sys
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_flows.training.eta import Remaining, fit_share


class ProgressLines(Callback):
    """Print a line to standard error now and then, in place of a bar: for the log of a cluster job, or a file.

    For example ``fit: 25 %, 0:12:30 left, train/bpd 4.312``, at each percent and after ten minutes without a line.

    Args:
        seconds: minimum time between two lines, except for the last.
    """

    def __init__(self, seconds: float = 5.0) -> None:
        self.seconds = seconds
        self._start("fit")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start("fit")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start("test", sum(trainer.num_test_batches))

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start("predict", sum(trainer.num_predict_batches))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._tell(trainer, fit_share(trainer, batch_idx + 1))

    def on_test_batch_end(self, trainer: Trainer, *args: Any) -> None:
        self._count(trainer)

    def on_predict_batch_end(self, trainer: Trainer, *args: Any) -> None:
        self._count(trainer)

    def _start(self, name: str, num_batches: float = math.inf) -> None:
        self._name, self._num_batches, self._batches = name, num_batches, 0
        self._remaining, self._told, self._percent = Remaining(), -math.inf, -1

    def _count(self, trainer: Trainer) -> None:
        self._batches += 1
        self._tell(trainer, self._batches / self._num_batches)

    def _tell(self, trainer: Trainer, share: float | None) -> None:
        if not trainer.is_global_zero:
            return
        now = time.monotonic()
        percent = -1 if share is None else int(100 * share)
        due = percent > self._percent and (now - self._told >= self.seconds or percent == 100)
        left = "" if share is None else self._remaining.text(share)
        if not due and now - self._told <= 600:
            return
        self._told, self._percent = now, percent
        metrics = [f"{name} {float(value):.3f}" for name, value in trainer.progress_bar_metrics.items() if "/" in name]
        words = [f"{percent} %" if percent >= 0 else f"step {trainer.global_step}", left, *metrics]
        print(f"{self._name}: {', '.join(word for word in words if word)}", file=sys.stderr, flush=True)
