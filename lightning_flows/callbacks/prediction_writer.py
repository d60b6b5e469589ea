"""Predictions as a CSV file."""

import csv
import io
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_flows.files import check_new_file, created
from lightning_flows.functional.ranks import gather_objects

CHUNK = 2**14  # lines that are written at once


class PredictionWriter(Callback):
    """Write a CSV file with one line per image: index, name, log_likelihood (nats) and bpd (bits per dimension).

    For graphs the last column is nll (nats per node), and rows of vectors have none. The file has the order of the data
    for any number of devices, and is written atomically at the end; until then, 8 bytes per number are kept.

    Args:
        path: file to write.
        overwrite: replace an existing file.
    Raises: OutputError before anything is computed, if the file exists or its folder cannot be created.
    """

    def __init__(self, path: str | Path, *, overwrite: bool = False) -> None:
        self.path, self.overwrite = Path(path), overwrite
        self._batches: list[dict[str, Tensor]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        check_new_file(self.path, overwrite=self.overwrite)
        self._batches = []

    def on_predict_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *args: Any) -> None:
        self._batches.append({key: value.cpu() for key, value in outputs.items()})

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        batches = [batch for ranked in gather_objects(self._batches) for batch in ranked]
        if not trainer.is_global_zero:
            return
        names = trainer.datamodule.predict_names()  # type: ignore[attr-defined]
        with created(self.path, overwrite=self.overwrite) as file:
            # a file name may not be valid text
            text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="")
            writer = csv.writer(text)
            values = {key: torch.cat([batch[key] for batch in batches]) for key in (batches[0] if batches else ())}
            index = values.pop("index", torch.empty(0))
            writer.writerow(["index", "name", *values])
            for part in index.argsort().split(CHUNK):
                numbers = index[part].tolist()
                columns = (each[part].tolist() for each in values.values())
                writer.writerows(zip(numbers, (names[number] for number in numbers), *columns, strict=True))
            text.detach()  # flushed, but still open: its owner closes it
        print(f"scores: {self.path}")
