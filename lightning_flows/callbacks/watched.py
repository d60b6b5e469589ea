"""A few validation items on which callbacks look at a flow."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor


class Watched(NamedTuple):
    """Items x ``(B, *event)``, which of their values exist, and the batch that they are of."""

    x: Tensor
    exists: Tensor
    batch: dict[str, Tensor]


class ValidationItems(Callback):
    """Base of callbacks that look at the first ``num_items`` items of each validation, on the first rank.

    Lightning validates in eval mode and without gradients, where a flow changes nothing of itself; nothing is drawn at
    random. Args: num_items: how many.
    """

    def __init__(self, num_items: int) -> None:
        self.num_items = num_items
        self._batch: dict[str, Tensor] = {}

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Mapping[str, Tensor],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the first items."""
        if batch_idx == 0 and trainer.is_global_zero and not trainer.sanity_checking:
            self._batch = {key: value[: self.num_items] for key, value in batch.items()}

    def take(self, pl_module: Any) -> Watched | None:
        """The items that were kept, once; None without any."""
        batch, self._batch = self._batch, {}
        if not batch:
            return None
        x, exists = pl_module.values(batch)
        return Watched(x, exists, batch)
