"""Results of tests, kept next to the run."""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import nn

from lightning_flows import __version__
from lightning_flows.checkpoints import describe, read_file
from lightning_flows.checkpoints.recorded_data import is_same
from lightning_flows.data import FlowDataModule
from lightning_flows.errors import NonFiniteError
from lightning_flows.files import appended_line
from lightning_flows.functional.ranks import sum_over_ranks
from lightning_flows.reporting.tables.items import write_items
from lightning_flows.reporting.tables.runs import TESTS
from lightning_flows.training.item_results import ItemCollector, ItemResults


class TestRecorder(Callback):
    """Append the results of ``test`` to ``tests.jsonl`` in the run folder of the checkpoint.

    If ``test_step`` returns results of each item, they are written to ``items_N.npz``, sorted by index, whatever the
    number of devices. Nothing is written for a checkpoint outside of a folder ``checkpoints``, or for data without a
    data module. If writing fails, or if a result is infinite or NaN, the results are only printed.

    >>> from contextlib import chdir
    >>> from tempfile import TemporaryDirectory
    >>> from lightning.pytorch.loggers import CSVLogger
    >>> from lightning_flows import AutoregressiveFlow, VectorFlowModule
    >>> from lightning_flows.data import ToyDataModule
    >>> module, data = VectorFlowModule((2,), AutoregressiveFlow), ToyDataModule(steps_per_epoch=1, num_test=16)
    >>> options = {"max_epochs": 1, "enable_progress_bar": False, "enable_model_summary": False}
    >>> with TemporaryDirectory() as folder, chdir(folder):
    ...     trainer = Trainer(accelerator="cpu", callbacks=[TestRecorder()], logger=CSVLogger("."), **options)
    ...     trainer.fit(module, data)
    ...     _ = trainer.test(ckpt_path="best", datamodule=data, verbose=False)
    ...     [name for name in ("tests.jsonl", "items_0.npz") if Path(trainer.log_dir, name).exists()]
    ['tests.jsonl', 'items_0.npz']
    """

    __test__ = False  # for pytest

    def __init__(self) -> None:
        self._num_items: int | None = 0
        self._items = ItemCollector()
        self._folder: Path | None = None
        self._source: dict[str, Any] = {}

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._num_items, self._items = 0, ItemCollector()
        path, data = Path(trainer.ckpt_path or "").resolve(), trainer.datamodule  # type: ignore[attr-defined]
        is_trial = trainer.fast_dev_run  # type: ignore[attr-defined]
        is_of_run = path.parent.name == "checkpoints" and path.is_file()
        self._folder = path.parents[1] if is_of_run and data is not None and not is_trial else None
        if self._folder is None or not trainer.is_global_zero:
            return
        try:  # as early as possible, because training may continue during the test and replace the checkpoint
            self._source = {"time": time.time()} | _described(path, data)
        except Exception as error:
            self._source = {}
            rank_zero_warn(f"the results will not be recorded in the run folder: {error or type(error).__name__}")

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        known = self._num_items is not None and isinstance(batch, dict) and "index" in batch
        self._num_items = (self._num_items or 0) + len(batch["index"]) if known else None
        self._items.add(batch, outputs, dataloader_idx)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if (folder := self._folder) is None:
            return
        if self._num_items is not None:  # batches of all ranks have the same type
            self._num_items = int(sum_over_ranks(torch.tensor(self._num_items, device=pl_module.device)))
        items = self._items.gathered()
        if not trainer.is_global_zero or not self._source:
            return
        try:
            record = self._record(trainer, pl_module)
            appended_line(folder / TESTS, json.dumps(record | _written(items, folder, pl_module, record["metrics"])))
        except Exception as error:  # the results may have taken hours
            rank_zero_warn(f"the results were not recorded in the run folder: {error or type(error).__name__}")

    def _record(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        model: Any = getattr(pl_module, "model", pl_module)
        data = trainer.datamodule  # type: ignore[attr-defined]
        num_all = data.num_items("test") if isinstance(data, FlowDataModule) else self._num_items
        return {
            **self._source,
            "metrics": _finite({name: float(value) for name, value in trainer.callback_metrics.items()}),
            "num_items": self._num_items,
            "num_parameters": _num_parameters(pl_module),
            "num_parameters_of": {name: _num_parameters(part) for name, part in model.named_children()},
            "model": describe(pl_module),
            "data": describe(data),
            "is_partial": self._num_items != num_all,
            "lightning_flows": __version__,
            "torch": torch.__version__,
        }


def _described(path: Path, data: Any) -> dict[str, Any]:
    """Entries of the record about a checkpoint."""
    checkpoint = read_file(path)
    is_other = not is_same(checkpoint.get("lightning_flows", {}), data)
    return {"checkpoint": path.name, "global_step": checkpoint["global_step"], "is_other_data": is_other}


def _finite(metrics: dict[str, float]) -> dict[str, float]:
    """Drop standard errors that are NaN, as for a single item. Raises: NonFiniteError if another is not finite."""
    found = {k: each for k, each in metrics.items() if not (k.endswith("_standard_error") and math.isnan(each))}
    for name, value in found.items():
        if not math.isfinite(value):
            raise NonFiniteError(f"{name} is {value}")
    return found


def _written(
    items: ItemResults | None, folder: Path, pl_module: LightningModule, metrics: Mapping[str, float]
) -> dict[str, Any]:
    """Write the results of the items that are metrics; return the entries of the record, none if that fails."""
    values = {name: each for name, each in (items.values if items else {}).items() if f"test/{name}" in metrics}
    if items is None or not values:
        return {}
    try:
        name = write_items(folder, items.index, values)
    except Exception as error:  # the record matters more
        rank_zero_warn(f"the results of each item were not recorded: {error or type(error).__name__}")
        return {}
    seed = int(getattr(pl_module, "seed", 0))
    entry = {"file": name, "digest": items.digest, "seed": seed, "num_repeated": items.num_repeated}
    return {"num_items": len(items.index), "items": entry}


def _num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
