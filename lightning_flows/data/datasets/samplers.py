"""Samplers: resumable anywhere for training, each item once for evaluation."""

from collections.abc import Callable, Iterator, Sized
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler

from lightning_flows.data.datasets.batches import augmenting, in_batches
from lightning_flows.functional.streams import stream

CHUNK = 2**16  # numbers of an order that are Python integers at a time


class TrainingItems(Dataset[dict[str, Tensor]]):
    """Infinite training items: item k is item k mod N of a dataset of N items, in epoch k // N.

    What the dataset draws from torch's global generator, for example by a random transform, depends only on the seed
    and k. The generator's state is restored. A :class:`BatchDataset` gives whole batches.
    """

    def __init__(self, dataset: Dataset[dict[str, Tensor]], *, seed: int) -> None:
        self.dataset, self.seed = dataset, seed

    def __len__(self) -> int:
        return len(cast(Sized, self.dataset))

    def __getitem__(self, k: int) -> dict[str, Tensor]:
        if in_batches(self.dataset):
            return {key: value[0] for key, value in self.dataset.training_batch(torch.tensor([k]), self.seed).items()}
        with augmenting(self.seed, k):
            return self.dataset[k % len(self)]

    def __getitems__(self, numbers: list[int]) -> Any:
        if in_batches(self.dataset):
            return self.dataset.training_batch(torch.tensor(numbers), self.seed)
        return [self[k] for k in numbers]


class EpochSampler(DistributedSampler[int]):
    """Indices k of infinite items; pass q over a dataset of N items visits ``q·N + order``, with its own order.

    An epoch is one pass, or a given number of batches: as many passes as that takes, the next epoch going on where it
    ended. Batch i of all ranks together holds the same items for any number of ranks: item j goes to rank j mod ranks.
    It subclasses DistributedSampler so that Lightning calls ``set_epoch`` and does not replace it.

    Args:
        batch_size: items per batch and rank.
        num_batches: batches per epoch and rank; by default those of one pass.
        shuffle: make each pass in a random order that depends only on seed and pass; otherwise in order.
        drop_last: if an epoch is a pass, drop an incomplete last batch; otherwise items are repeated so that all ranks
            have equally many.
        first_step: returns the number of batches of the epoch that are already done when a run is resumed.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        *,
        batch_size: int = 1,
        num_batches: int | None = None,
        shuffle: bool = True,
        drop_last: bool = True,
        seed: int = 0,
        num_ranks: int = 1,
        rank: int = 0,
        first_step: Callable[[], int] = lambda: 0,
    ) -> None:
        super().__init__(dataset, num_replicas=num_ranks, rank=rank, shuffle=shuffle, seed=seed)
        self.batch_size, self.first_step = batch_size, first_step
        num = len(cast(Sized, dataset))
        self.num_samples = num // (batch_size * num_ranks) * batch_size if drop_last else -(-num // num_ranks)
        self.items_per_epoch = num
        if num_batches is not None:
            self.num_samples = num_batches * batch_size
            self.items_per_epoch = self.num_samples * num_ranks

    def __iter__(self) -> Iterator[int]:
        # a generator function, because Lightning creates the iterator of a resumed run before it sets the epoch
        num = len(cast(Sized, self.dataset))
        first = min(self.first_step() * self.batch_size, self.num_samples)
        mine = torch.arange(first, self.num_samples) * self.num_replicas + self.rank
        numbers = self.epoch * self.items_per_epoch + mine % self.items_per_epoch
        passes, counts = torch.unique_consecutive(numbers // num, return_counts=True)
        for number, of_pass in zip(passes.tolist(), numbers.split(counts.tolist()), strict=True):
            order = torch.arange(num)
            if self.shuffle:
                order = torch.randperm(num, generator=stream(self.seed, "order of an epoch", number))
            for chunk in (number * num + order[of_pass % num]).split(CHUNK):
                yield from chunk.tolist()


class OnceSampler(DistributedSampler[int]):
    """Items rank, rank + ranks, …: all ranks together see each item once, without padding."""

    def __init__(self, dataset: Dataset[Any], *, num_ranks: int, rank: int) -> None:
        super().__init__(dataset, num_replicas=num_ranks, rank=rank, shuffle=False)
        self.items = range(rank, len(cast(Sized, dataset)), num_ranks)
        self.num_samples = len(self.items)

    def __iter__(self) -> Iterator[int]:
        return iter(self.items)
