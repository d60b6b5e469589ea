"""Curves of a run, kept next to it."""

from contextlib import suppress
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_flows.callbacks.base import own_folder
from lightning_flows.errors import OutputError
from lightning_flows.files import appended_line, check_writable
from lightning_flows.modules.monitored import is_due
from lightning_flows.reporting.tables.curve_file import CURVES, curve_line


class CurveRecorder(Callback):
    """Append the training and validation curves to ``curves.jsonl`` in the run's folder, whatever the loggers.

    Each line is a mapping: ``step`` and ``epoch``, counted from 0 as loggers count them, and the metrics ``train/…`` at
    logged steps or ``val/…`` after a validation. Lines are written after each validation and each epoch, just before a
    checkpoint, and when training ends for any reason: a killed run that resumes has no gap, and of a step that it
    repeats, the later line counts. Only the first rank writes. A trial run (fast_dev_run) writes nothing, nor does a
    trainer in Python without a logger that has a folder for each run.

    Raises: OutputError if the file cannot be written.

    >>> import json
    >>> from contextlib import chdir
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from lightning.pytorch.loggers import CSVLogger
    >>> from lightning_flows import AutoregressiveFlow, VectorFlowModule
    >>> from lightning_flows.app.default_trainer import default_trainer
    >>> from lightning_flows.data import ToyDataModule
    >>> options = {"max_epochs": 1, "enable_checkpointing": False, "enable_model_summary": False}
    >>> with TemporaryDirectory() as folder, chdir(folder):
    ...     trainer = default_trainer(logger=CSVLogger("."), **options)  # every run has it
    ...     trainer.fit(VectorFlowModule((2,), AutoregressiveFlow), ToyDataModule(steps_per_epoch=1))
    ...     sorted(json.loads(Path(trainer.log_dir, "curves.jsonl").read_text().splitlines()[-1]))
    ['epoch', 'step', 'val/gap', 'val/loss', 'val/nll']
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._is_due, self._step = False, 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._lines = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._is_due, self._step = trainer.is_global_zero and is_due(trainer), trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._is_due and trainer.global_step > self._step:  # not while gradients accumulate
            self._add(trainer, "train/")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._add(trainer, "val/")
            self._write(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        with suppress(OutputError):  # the checkpoint matters more; lines that were not written are kept
            self._write(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        with suppress(OutputError):  # the exception matters more
            self._write(trainer)

    def _add(self, trainer: Trainer, prefix: str) -> None:
        if not trainer.is_global_zero:
            return
        values = {name: float(each) for name, each in trainer.callback_metrics.items() if name.startswith(prefix)}
        if values:
            self._lines.append(curve_line(trainer.global_step - 1, {"epoch": trainer.current_epoch} | values))

    def _write(self, trainer: Trainer) -> None:
        if self._lines and not trainer.fast_dev_run and (folder := own_folder(trainer)):  # type: ignore[attr-defined]
            if not folder.is_dir():  # loggers may create it later
                check_writable(folder)
            appended_line(folder / CURVES, "\n".join(self._lines))
        self._lines = []
