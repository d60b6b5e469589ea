"""Predictions as a CSV file."""

import csv
import io
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_flows.files import check_new_file, created


class PredictionWriter(Callback):
    """Write a CSV file with one line per image: index, name, log_likelihood (nats) and bpd (bits per dimension).

    For graphs the last column is nll (nats per node), and rows of vectors have none. The file has the order of the data
    for any number of devices, and is written atomically at the end.

    Args:
        path: file to write.
        overwrite: replace an existing file.
    Raises: OutputError before anything is computed, if the file exists or its folder cannot be created.
    """

    def __init__(self, path: str | Path, *, overwrite: bool = False) -> None:
        self.path, self.overwrite = Path(path), overwrite
        self._columns: list[str] = []
        self._rows: list[tuple[Any, ...]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        check_new_file(self.path, overwrite=self.overwrite)
        self._rows = []

    def on_predict_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *args: Any) -> None:
        self._columns = ["index", *(key for key in outputs if key != "index")]
        self._rows += zip(*(outputs[key].tolist() for key in self._columns), strict=True)

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        rows = self._rows
        if trainer.world_size > 1:
            gathered: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(gathered, rows)
            rows = [row for ranked in gathered for row in ranked]
        if not trainer.is_global_zero:
            return
        names = trainer.datamodule.predict_names()  # type: ignore[attr-defined]
        with created(self.path, overwrite=self.overwrite) as file:
            # a file name may not be valid text
            text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="")
            writer = csv.writer(text)
            writer.writerow(["index", "name", *self._columns[1:]])
            writer.writerows((index, names[index], *values) for index, *values in sorted(rows))
            text.detach()  # flushed, but still open: its owner closes it
        print(f"scores: {self.path}")
