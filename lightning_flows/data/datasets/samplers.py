"""Training images without end, in an order that a run can take up again anywhere."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler

from lightning_flows.data.datasets.images import ImageDataset
from lightning_flows.functional.streams import seeded, stream


class TrainingImages(Dataset[dict[str, Tensor]]):
    """Images as training sees them: item k is image k mod N in epoch k // N.

    What the transform draws at random follows from the seed and k alone: neither from the process that loads it, nor
    from what was loaded before. To be read through :class:`ShuffledSampler`.

    Args:
        images: N images with their transform.
        seed: of the transform's random numbers.
    """

    def __init__(self, images: ImageDataset, *, seed: int) -> None:
        self.images, self.seed = images, seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, k: int) -> dict[str, Tensor]:
        with seeded(self.seed, "augmentation", k):
            return self.images[k % len(self.images)]


class ShuffledSampler(DistributedSampler[int]):
    """Numbers k of :class:`TrainingImages`: each epoch in an order of its own, which follows from seed and epoch.

    Batch i of all ranks together holds the same images whatever the number of ranks: image j of it goes to rank
    j mod ranks. As a DistributedSampler it is told the epoch by Lightning, and otherwise left alone.

    Args:
        dataset: the images.
        batch_size: images of a batch on each rank.
        drop_last: leave out an incomplete last batch; otherwise the ranks' shares are made equal by repeating images.
        seed: of the orders.
        num_ranks: processes that share the data.
        rank: number of this process among them.
        first_step: tells how many batches of the epoch are done already, where a run goes on within an epoch.
    """

    def __init__(
        self,
        dataset: TrainingImages,
        *,
        batch_size: int,
        drop_last: bool,
        seed: int,
        num_ranks: int = 1,
        rank: int = 0,
        first_step: Callable[[], int] = lambda: 0,
    ) -> None:
        super().__init__(dataset, num_replicas=num_ranks, rank=rank, seed=seed)
        self.batch_size, self.first_step = batch_size, first_step
        of_all_ranks = batch_size * num_ranks
        full = len(dataset) // of_all_ranks * batch_size
        self.num_samples = full if drop_last else -(-len(dataset) // num_ranks)

    def __iter__(self) -> Iterator[int]:
        # A generator: Lightning makes the iterator of a resumed run before it tells the epoch.
        num = len(self.dataset)  # type: ignore[arg-type]
        order = torch.randperm(num, generator=stream(self.seed, "order of an epoch", self.epoch))
        first = self.first_step() * self.batch_size
        mine = torch.arange(first, self.num_samples) * self.num_replicas + self.rank
        yield from (self.epoch * num + order[mine % num]).tolist()
