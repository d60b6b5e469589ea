"""Results of tests, kept next to the run."""

import json
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import nn

from lightning_flows import __version__
from lightning_flows.checkpoints import describe, read_file
from lightning_flows.files import appended_line
from lightning_flows.functional.ranks import sum_over_ranks
from lightning_flows.reporting.tables.runs import TESTS


class TestRecorder(Callback):
    """Append the results of ``test`` to ``tests.jsonl`` in the run folder of the checkpoint.

    Nothing is written for a checkpoint outside of a folder ``checkpoints``, or for data without a data module. If
    writing fails, the results are still printed.
    """

    __test__ = False  # for pytest

    def __init__(self) -> None:
        self._num_items: int | None = 0

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._num_items = 0

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *args: Any
    ) -> None:
        known = self._num_items is not None and isinstance(batch, dict) and "index" in batch
        self._num_items = (self._num_items or 0) + len(batch["index"]) if known else None

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._num_items is not None:  # batches of all ranks have the same type
            self._num_items = int(sum_over_ranks(torch.tensor(self._num_items, device=pl_module.device)))
        path, data = Path(trainer.ckpt_path or "").resolve(), trainer.datamodule  # type: ignore[attr-defined]
        if path.parent.name != "checkpoints" or data is None or not trainer.is_global_zero:
            return
        try:
            model: Any = getattr(pl_module, "model", pl_module)
            record = {
                "checkpoint": path.name,
                "global_step": read_file(path)["global_step"],
                "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
                "num_items": self._num_items,
                "num_parameters": _num_parameters(pl_module),
                "num_parameters_of": {name: _num_parameters(part) for name, part in model.named_children()},
                "model": describe(pl_module),
                "data": describe(data),
                "lightning_flows": __version__,
                "torch": torch.__version__,
                "time": time.time(),
            }
            appended_line(path.parents[1] / TESTS, json.dumps(record))
        except Exception as error:  # the results may have taken hours
            rank_zero_warn(f"the results were not recorded in the run folder: {error or type(error).__name__}")


def _num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
