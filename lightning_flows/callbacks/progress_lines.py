"""Progress where there is no terminal."""

import math
import sys
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_flows.training.eta import Remaining, fit_share


class ProgressLines(Callback):
    """A line on the standard error now and then, in place of a bar: in the log of a cluster's job, or a file.

    For example ``fit: 25 %, 0:12:30 left, train/bpd 4.312``: at each percent, and after ten minutes without a line.

    Args:
        seconds: least time between two lines, but for the last.
    """

    def __init__(self, seconds: float = 5.0) -> None:
        self.seconds = seconds
        self._start("fit")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin."""
        self._start("fit")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Tell how far the training is."""
        self._tell(trainer, fit_share(trainer, batch_idx + 1))

    def on_test_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Begin, and listen to the module."""
        self._listen(trainer, pl_module, "test", trainer.num_test_batches)

    def on_predict_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Begin, and listen to the module."""
        self._listen(trainer, pl_module, "predict", trainer.num_predict_batches)

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Listen no more."""
        pl_module.on_batches_done = None

    def on_predict_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Listen no more."""
        pl_module.on_batches_done = None

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Listen no more."""
        pl_module.on_batches_done = None

    def _listen(self, trainer: Trainer, pl_module: Any, name: str, num_batches: list[int | float]) -> None:
        self._start(name)
        total = sum(num_batches)
        pl_module.on_batches_done = lambda batches: self._tell(trainer, batches / total)

    def _start(self, name: str) -> None:
        self._name, self._remaining, self._told, self._percent = name, Remaining(), -math.inf, -1

    def _tell(self, trainer: Trainer, share: float | None) -> None:
        now = time.monotonic()
        percent = -1 if share is None else int(100 * share)
        due = percent > self._percent and (now - self._told >= self.seconds or percent == 100)
        left = "" if share is None else self._remaining.text(share)
        if not trainer.is_global_zero or not (due or now - self._told > 600):
            return
        self._told, self._percent = now, percent
        metrics = [f"{name} {float(value):.3f}" for name, value in trainer.progress_bar_metrics.items() if "/" in name]
        parts = [f"{percent} %" if percent >= 0 else f"step {trainer.global_step}", left, *metrics]
        print(f"{self._name}: {', '.join(part for part in parts if part)}", file=sys.stderr, flush=True)
