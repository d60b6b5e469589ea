"""Infinitely many new batches for training, drawn from a known density."""

from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_flows.functional.streams import stream


class Source(Protocol):
    """Draws batches of ``num`` items."""

    def draw(self, num: int, generator: torch.Generator) -> dict[str, Tensor]: ...


class FreshBatches(Dataset[dict[str, Tensor]]):
    """Infinitely many batches: item k is a complete batch, which depends only on the seed, the purpose and k.

    ``"index"`` int64 ``(batch_size,)`` numbers all items drawn with a seed; ``num_batches`` is the length of an epoch.
    """

    def __init__(self, source: Source, purpose: str, *, batch_size: int, num_batches: int, seed: int) -> None:
        self.source, self.purpose = source, purpose
        self.batch_size, self.num_batches, self.seed = batch_size, num_batches, seed

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, k: int) -> dict[str, Tensor]:
        batch = self.source.draw(self.batch_size, stream(self.seed, self.purpose, k))
        return batch | {"index": k * self.batch_size + torch.arange(self.batch_size)}
