"""Datasets that are read a batch at a time."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, TypeGuard

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from lightning_flows.errors import ShapeError
from lightning_flows.functional.streams import forked


class BatchDataset(Dataset[dict[str, Tensor]], ABC):
    """A dataset whose items are read a batch at a time, as small items in memory should be.

    A subclass implements ``__len__`` and :meth:`batch`, and :meth:`training_batch` if training draws random numbers.
    Order, resuming and ranks are the same as for any other dataset; the loaders of data modules only index once per
    batch instead of once per item, unless a subclass defines its own ``__getitem__``. Other loaders read items.
    """

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def batch(self, indices: Tensor) -> dict[str, Tensor]:
        """Items with these indices, int64 ``(B,)``: each tensor ``(B, ...)``, one of which is ``"index"``."""

    def training_batch(self, numbers: Tensor, seed: int) -> dict[str, Tensor]:
        """Training items: number k is item k mod N, in epoch k // N; random draws depend only on ``seed`` and k."""
        return self.batch(numbers % len(self))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {key: value[0] for key, value in self.batch(torch.tensor([index])).items()}


def augmenting(seed: int, number: int) -> AbstractContextManager[None]:
    """Seed torch's global generator for the random transforms of training item ``number``; restore its state after."""
    return forked(seed, "augmentation", number)


class MemoryDataset(BatchDataset):
    """Items in memory: item i contains entry i of each tensor, and i as ``"index"``.

    Raises: ShapeError if the tensors have different lengths.

    >>> dataset = MemoryDataset({"row": torch.zeros(3, 2)})
    >>> dataset[2]["index"], dataset.batch(torch.tensor([2, 0]))["row"].shape
    (tensor(2), torch.Size([2, 2]))
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        if len({len(tensor) for tensor in tensors.values()}) != 1:
            lengths = {key: len(tensor) for key, tensor in tensors.items()}
            raise ShapeError(f"expected tensors of equal length; got {lengths}")
        self.tensors = dict(tensors)

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def batch(self, indices: Tensor) -> dict[str, Tensor]:
        return {key: tensor[indices] for key, tensor in self.tensors.items()} | {"index": indices}


class WholeBatches(Dataset[dict[str, Tensor]]):
    """A :class:`BatchDataset` for a loader with :func:`collate`."""

    def __init__(self, dataset: BatchDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.dataset[index]

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        return self.dataset.batch(torch.tensor(indices))


def in_batches(dataset: Any) -> TypeGuard[BatchDataset]:
    """Return whether a dataset is read a batch at a time."""
    return isinstance(dataset, BatchDataset) and type(dataset).__getitem__ is BatchDataset.__getitem__


def collate(items: Any) -> Any:
    """Stack a list of items; a batch that a dataset returned as a whole remains as it is."""
    return default_collate(items) if isinstance(items, list) else items
