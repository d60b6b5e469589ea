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
    """Indices k of infinite items, N per epoch; epoch e visits ``e·N + order``, with its own order.

    Batch i of all ranks together holds the same items for any number of ranks: item j goes to rank j mod ranks.
    It subclasses DistributedSampler so that Lightning calls ``set_epoch`` and does not replace it.

    Args:
        batch_size: items per batch and rank.
        shuffle: visit each epoch in a random order that depends only on seed and epoch; otherwise in order.
        drop_last: drop an incomplete last batch; otherwise items are repeated so that all ranks have equally many.
        first_step: returns the number of batches of the epoch that are already done when a run is resumed.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        *,
        batch_size: int = 1,
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

    def __iter__(self) -> Iterator[int]:
        # a generator function, because Lightning creates the iterator of a resumed run before it sets the epoch
        num = len(cast(Sized, self.dataset))
        generator = stream(self.seed, "order of an epoch", self.epoch)
        order = torch.randperm(num, generator=generator) if self.shuffle else torch.arange(num)
        first = min(self.first_step() * self.batch_size, self.num_samples)
        mine = torch.arange(first, self.num_samples) * self.num_replicas + self.rank
        for chunk in (self.epoch * num + order[mine % num]).split(CHUNK):
            yield from chunk.tolist()


class OnceSampler(DistributedSampler[int]):
    """Items rank, rank + ranks, …: all ranks together see each item once, without padding."""

    def __init__(self, dataset: Dataset[Any], *, num_ranks: int, rank: int) -> None:
        super().__init__(dataset, num_replicas=num_ranks, rank=rank, shuffle=False)
        self.items = range(rank, len(cast(Sized, dataset)), num_ranks)
        self.num_samples = len(self.items)

    def __iter__(self) -> Iterator[int]:
        return iter(self.items)
