"""The number of items in a test."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_flows.functional.ranks import sum_over_ranks


class ItemCount(Callback):
    """Count the items of a test over all ranks as ``num_items``; None if batches have no ``index``."""

    def __init__(self) -> None:
        self.num_items: int | None = None
        self._count: int | None = 0

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the count."""
        self.num_items, self._count = None, 0

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count a batch."""
        known = self._count is not None and isinstance(batch, dict) and "index" in batch
        self._count = (self._count or 0) + len(batch["index"]) if known else None

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sum over ranks, whose batches are all of the same kind."""
        if self._count is not None:
            self.num_items = int(sum_over_ranks(torch.tensor(self._count, device=pl_module.device)))
