"""The progress bar on a terminal."""

import logging
import sys
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TaskID
from rich.text import Text

from lightning_flows.callbacks.base import training_loss
from lightning_flows.progress import Remaining
from lightning_flows.training.eta import fit_share


class ProgressBar(RichProgressBar):
    """Lightning's bar in 80 columns, with the time remaining for the whole training instead of the epoch.

    It shows the training loss of the last logged step or of the last batch of an epoch, so that the host does not wait
    for the device in other steps. Messages of Lightning's loggers appear above the bar, those after training below it.

    Args:
        kwargs: see Lightning's RichProgressBar.

    >>> from lightning_flows.app.default_trainer import default_trainer
    >>> trainer = default_trainer(callbacks=[ProgressBar(leave=True)], logger=False)
    >>> type(trainer.progress_bar_callback) is ProgressBar
    True
    """

    reads_loss = True  # see is_shown

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._loss: dict[str, float] = {}
        self._clocks: dict[TaskID, Remaining] = defaultdict(Remaining)
        self._epoch = 1

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        for name in ("lightning.pytorch", "lightning.fabric"):
            for handler in logging.getLogger(name).handlers:
                if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr:
                    handler.setStream(_Stderr())  # the bar replaces sys.stderr, and would overwrite what passes it by

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        self.teardown(trainer, pl_module, "fit")  # final: a message after training would draw it again

    def configure_columns(self, trainer: Trainer) -> list[ProgressColumn]:
        self._clocks.clear()
        self._loss = {}
        self._epoch = trainer.current_epoch + 1
        return [
            _Rendered(self._describe),
            BarColumn(bar_width=10, complete_style=self.theme.progress_bar, finished_style=self.theme.progress_bar),
            MofNCompleteColumn(),
            _Rendered(self._time_left),
        ]

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._epoch = trainer.current_epoch + 1

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        steps = trainer.log_every_n_steps  # type: ignore[attr-defined]
        logged = steps > 0 and trainer.global_step % steps == 0
        if trainer.training and (logged or trainer.is_last_batch or not self._loss):
            self._loss = training_loss(trainer)
        return self._loss | metrics

    def _describe(self, task: Task) -> str:
        if not task.description.startswith("Epoch"):
            return task.description
        num_epochs = self.trainer.max_epochs
        of_all = f"/{num_epochs}" if num_epochs and num_epochs > 0 else ""
        return f"Epoch {self._epoch}{of_all}"

    def _time_left(self, task: Task) -> str:
        if task.id == self.train_progress_bar_id:
            share = fit_share(self.trainer, int(task.completed))
        else:
            share = task.completed / task.total if task.total else None
        return "" if share is None else self._clocks[task.id].text(share)


class _Rendered(ProgressColumn):
    """A column that shows a function of the task, on one line."""

    def __init__(self, text_of: Callable[[Task], str]) -> None:
        super().__init__()
        self.text_of = text_of

    def render(self, task: Task) -> Text:
        return Text(self.text_of(task), no_wrap=True)


class _Stderr:
    """The current standard error, whatever replaced it."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()
