"""The bar on a terminal."""

import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

from lightning_flows.training.eta import Remaining, fit_share


class ProgressBar(RichProgressBar):
    """Lightning's bar, which also tells when the whole training ends, and moves within batches of many draws.

    With a thousand importance samples a batch takes minutes; the module tells which part of it is done. Args: kwargs:
    see Lightning's RichProgressBar.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._remaining, self._moved = Remaining(), 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin."""
        super().on_train_start(trainer, pl_module)
        self._remaining = Remaining()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Move, and say how long the training will take."""
        super().on_train_batch_end(trainer, pl_module, *args)
        share = fit_share(trainer, args[-1] + 1)
        if share is not None and self.progress is not None and self.train_progress_bar_id is not None:
            left = self._remaining.text(share)
            description = self._get_train_description(trainer.current_epoch).rstrip()
            self.progress.update(
                self.train_progress_bar_id, description=f"{description} ({left})" if left else description
            )

    def on_test_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Listen to the module."""
        super().on_test_start(trainer, pl_module)
        pl_module.on_batches_done = lambda batches: self._move(self.test_progress_bar_id, batches)

    def on_predict_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Listen to the module."""
        super().on_predict_start(trainer, pl_module)
        pl_module.on_batches_done = lambda batches: self._move(self.predict_progress_bar_id, batches)

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Listen no more."""
        pl_module.on_batches_done = None
        super().on_test_end(trainer, pl_module)

    def on_predict_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Listen no more."""
        pl_module.on_batches_done = None
        super().on_predict_end(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Listen no more."""
        pl_module.on_batches_done = None
        super().on_exception(trainer, pl_module, exception)

    def _move(self, task: Any, batches: float) -> None:
        if time.monotonic() - self._moved > 0.1:
            self._moved = time.monotonic()
            self._update(task, batches)  # type: ignore[arg-type]
