"""Progress without a terminal."""

import math
import sys
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_flows.callbacks.base import training_loss
from lightning_flows.progress import Remaining
from lightning_flows.training.eta import fit_share


class ProgressLines(Callback):
    """Print lines to standard error instead of a progress bar, for logs of cluster jobs and files.

    A line such as ``fit: 25 %, 0:12:30 left, train/bpd 4.312`` appears at each percent and after ten minutes without
    one.

    Args:
        seconds: minimum time between lines, except for the last.

    >>> from lightning_flows.app.default_trainer import default_trainer
    >>> trainer = default_trainer(callbacks=[ProgressLines(seconds=30.0)], logger=False)
    >>> [each.seconds for each in trainer.callbacks if isinstance(each, ProgressLines)]  # instead of a bar
    [30.0]
    """

    def __init__(self, seconds: float = 5.0) -> None:
        self.seconds = seconds
        self._start()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._print(trainer, "fit", fit_share(trainer, batch_idx + 1))

    def on_test_batch_end(self, trainer: Trainer, *args: Any) -> None:
        self._batches += 1
        self._print(trainer, "test", self._batches / sum(trainer.num_test_batches))

    def on_predict_batch_end(self, trainer: Trainer, *args: Any) -> None:
        self._batches += 1
        self._print(trainer, "predict", self._batches / sum(trainer.num_predict_batches))

    def _start(self) -> None:
        self._batches, self._remaining, self._told, self._percent = 0, Remaining(), -math.inf, -1

    def _print(self, trainer: Trainer, name: str, share: float | None) -> None:
        now = time.monotonic()
        percent = -1 if share is None else int(100 * share)
        left = "" if share is None else self._remaining.text(share)
        due = percent > self._percent and (now - self._told >= self.seconds or percent == 100)
        if trainer.is_global_zero and (due or now - self._told > 600):
            self._told, self._percent = now, percent
            done = f"{percent} %" if percent >= 0 else f"step {trainer.global_step}"
            shown = training_loss(trainer) | trainer.progress_bar_metrics
            metrics = [f"{key} {float(value):.3f}" for key, value in shown.items() if "/" in key]
            print(f"{name}: {', '.join(filter(None, (done, left, *metrics)))}", file=sys.stderr, flush=True)
