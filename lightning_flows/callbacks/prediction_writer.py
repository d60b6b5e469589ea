"""Predictions as a CSV file, and the strangest images as a page."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_flows.callbacks.calibration import Calibration
from lightning_flows.callbacks.item_scores import IMAGE, joined, scored
from lightning_flows.callbacks.strangest import Shown, Strangest
from lightning_flows.errors import UsageError
from lightning_flows.files import PAGE_SUFFIXES, check_new_file, check_suffix, created_together
from lightning_flows.functional.ranks import gather_objects
from lightning_flows.reporting.outliers.columns import score_columns, strangeness
from lightning_flows.reporting.outliers.page import strangest_page
from lightning_flows.reporting.outliers.scores import Scored

CHUNK = 2**14  # lines that are written at once
NUM_SHOWN = 60  # images on the page


class PredictionWriter(Callback):
    """Write a CSV file with one line per item: index, name, what ``predict_step`` returns, scores and p-values.

    Of images, ``predict_step`` returns log_likelihood (nats) and bpd (bits per dimension); of graphs log_likelihood
    and nll (nats per node); of vectors log_likelihood. The columns of :func:`score_columns` follow. The file has the
    order of the data for any number of devices, and is written atomically at the end; until then, 8 bytes per number
    are kept.

    Args:
        path: file to write.
        overwrite: replace an existing file.
        calibration: held-out items for p-values; None for none.
        page: HTML file to write, of the images with the highest scores; None for none.
    Raises: OutputError before anything is computed, if a file exists or its folder cannot be created; UsageError for
        other suffixes than .csv and .html, and for a page of items that are not images.

    >>> from contextlib import chdir
    >>> from tempfile import TemporaryDirectory
    >>> from lightning_flows import AutoregressiveFlow, VectorFlowModule
    >>> from lightning_flows.app.default_trainer import default_trainer
    >>> from lightning_flows.data import ToyDataModule
    >>> module, data = VectorFlowModule((2,), AutoregressiveFlow), ToyDataModule(num_test=10)
    >>> with TemporaryDirectory() as folder, chdir(folder):
    ...     trainer = default_trainer(callbacks=[PredictionWriter("scores.csv")], logger=False)
    ...     trainer.predict(module, data, return_predictions=False)
    ...     lines = Path("scores.csv").read_text().splitlines()
    scores: scores.csv
    >>> lines[0], len(lines)
    ('index,name,log_likelihood', 11)
    """

    def __init__(
        self,
        path: str | Path,
        *,
        overwrite: bool = False,
        calibration: Calibration | None = None,
        page: str | Path | None = None,
    ) -> None:
        self.path, self.overwrite, self.calibration = Path(path), overwrite, calibration
        self.page = None if page is None else Path(page)
        check_suffix(path, (".csv",), "a CSV file")
        if page is not None:
            check_suffix(page, PAGE_SUFFIXES, "an HTML file")
        self._start()

    def _start(self) -> None:
        self._batches: list[dict[str, Tensor]] = []
        self._scored: list[Scored] = []
        self._held_out: Scored | None = None
        self._strangest = Strangest(NUM_SHOWN)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._start()
        for path in self._paths:
            check_new_file(path, overwrite=self.overwrite)
        if self.page is not None and len(getattr(pl_module, "event_shape", ())) != 3:
            raise UsageError("a page shows images, and the model is not one of images: omit it")
        if self.calibration is not None:
            self.calibration.setup(trainer)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score the held-out items first: if that fails, nothing else has been computed."""
        self._held_out = None if self.calibration is None else self.calibration.scores(trainer, pl_module)

    def on_predict_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *args: Any) -> None:
        self._batches.append({key: value.cpu() for key, value in outputs.items() if key != IMAGE})
        if (found := scored(outputs, getattr(pl_module, "unit", ""))) is not None:
            self._scored.append(found)
            if self.page is not None and IMAGE in outputs:
                self._strangest.add(strangeness(found), outputs["index"], outputs[IMAGE])

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        batches = [batch for ranked in gather_objects(self._batches) for batch in ranked]
        parts = [part for ranked in gather_objects(self._scored) for part in ranked]
        shown = self._strangest.gathered()
        if not trainer.is_global_zero:
            return
        values = {key: torch.cat([batch[key] for batch in batches]) for key in (batches[0] if batches else ())}
        index = values.pop("index", torch.empty(0))
        if parts:
            rate = None if self.calibration is None else self.calibration.false_alarm_rate
            values |= score_columns(joined(parts), self._held_out, rate)
        names = trainer.datamodule.predict_names()  # type: ignore[attr-defined]
        with created_together(self._paths, overwrite=self.overwrite) as (file, *pages):
            _write_table(file, names, index, values)
            for page in pages:
                page.write(self._html(shown, names, index, values).encode("utf-8"))
        print("\n".join(f"{name}: {path}" for name, path in zip(("scores", "page"), self._paths, strict=False)))
        if "outlier" in values:
            print(f"outliers: {int(values['outlier'].sum())} of {len(index)}")

    @property
    def _paths(self) -> list[Path]:
        return [self.path] if self.page is None else [self.path, self.page]

    def _html(self, shown: Shown | None, names: Sequence[str], index: Tensor, values: Mapping[str, Tensor]) -> str:
        items = []
        for number, image in [] if shown is None else zip(shown.number.tolist(), shown.images, strict=True):
            place = int((index == number).nonzero()[0])
            items.append((names[number], image, {key: each[place].item() for key, each in values.items()}))
        num = 0 if self._held_out is None else len(self._held_out.loss)
        rate = None if self.calibration is None else self.calibration.false_alarm_rate
        return strangest_page(items, num_items=len(index), num_held_out=num, false_alarm_rate=rate)


def _write_table(file: BinaryIO, names: Sequence[str], index: Tensor, values: Mapping[str, Tensor]) -> None:
    """Write the lines in the order of the index."""
    # a file name may not be valid text
    text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="")
    writer = csv.writer(text)
    writer.writerow(["index", "name", *values])
    for part in index.argsort().split(CHUNK):
        numbers = index[part].tolist()
        columns = (each[part].tolist() for each in values.values())
        writer.writerows(zip(numbers, (names[number] for number in numbers), *columns, strict=True))
    text.detach()  # flushed, but still open: its owner closes it
