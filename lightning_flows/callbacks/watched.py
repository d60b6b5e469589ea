"""A few validation items on which callbacks look at a flow."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_flows.functional.graphs import Graph


class Watched(NamedTuple):
    """Items x ``(B, *event)``, which of their values exist, and the flow's two directions on them."""

    x: Tensor
    exists: Tensor
    encode: Callable[[Tensor], tuple[Tensor, ...]]
    decode_reported: Callable[[Sequence[Tensor]], tuple[Tensor, list[NamedTuple]]]


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
        if "image" in batch:
            flow = pl_module.model.flow
            x = (batch["image"] + 0.5).contiguous(memory_format=torch.channels_last)  # the middle of each level
            return Watched(
                x,
                torch.ones_like(x, dtype=torch.bool),
                lambda x: flow.encode(x),
                lambda latents: flow.decode_reported(latents),
            )
        if "nodes" in batch:
            x, graph = batch["nodes"], Graph(batch.get("adjacency"), batch.get("mask"))
            exists = graph.node_weights(x).bool()[..., None].expand_as(x)
            return Watched(
                x,
                exists,
                lambda x: pl_module.model.encode(x, graph),
                lambda latents: pl_module.model.decode_reported(latents, graph),
            )
        return None
