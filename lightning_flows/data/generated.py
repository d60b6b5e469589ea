"""The base of data modules that draw from a known density."""

from abc import abstractmethod
from typing import Any

from torch import Tensor

from lightning_flows.data.base import FlowDataModule, Loader
from lightning_flows.data.datasets.batches import MemoryDataset
from lightning_flows.data.datasets.fresh import FreshBatches, Source
from lightning_flows.errors import check_sizes
from lightning_flows.functional.ranks import num_ranks
from lightning_flows.functional.streams import stream


class GeneratedDataModule(FlowDataModule):
    """Items drawn from a known density: new ones at each training step, fixed ones for evaluation.

    A subclass implements :attr:`source` and :meth:`true_log_prob`. Evaluation batches have ``"true_log_prob"`` float64
    (B,), the exact log-density in nats. A training item depends only on the seed, epoch, step and rank; no item is
    repeated, within a split or across splits.

    Args:
        batch_size: items per training batch and device.
        eval_batch_size: items per validation, test or prediction batch and device.
        steps_per_epoch: training batches per epoch and device.
        num_val: number of validation items.
        num_test: number of test items, which ``predict`` scores as well.
        kwargs: other arguments of :class:`FlowDataModule`.

    Raises: UsageError for a number below 1.
    """

    items = "items"
    """What is drawn, in the names of the random streams."""

    def __init__(
        self,
        *,
        batch_size: int,
        eval_batch_size: int | None,
        steps_per_epoch: int,
        num_val: int,
        num_test: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            batch_size=batch_size, eval_batch_size=eval_batch_size, steps_per_epoch=steps_per_epoch, **kwargs
        )
        check_sizes(steps_per_epoch=steps_per_epoch, num_val=num_val, num_test=num_test)

    @property
    @abstractmethod
    def source(self) -> Source:
        """Draws items."""

    @abstractmethod
    def true_log_prob(self, items: dict[str, Tensor]) -> Tensor:
        """Exact log-density ``(B,)`` of items in nats, float64."""

    def load_split(self, split: str) -> MemoryDataset | FreshBatches:
        """Draw a split."""
        if split == "train":
            return FreshBatches(
                self.source,
                f"training {self.items}",
                batch_size=self.hparams["batch_size"],
                num_batches=self.hparams["steps_per_epoch"] * num_ranks(),
                seed=self.hparams["seed"],
            )
        drawn = self.source.draw(self.hparams[f"num_{split}"], stream(self.hparams["seed"], f"{split} {self.items}"))
        return MemoryDataset(drawn | {"true_log_prob": self.true_log_prob(drawn)})

    def num_items(self, split: str) -> int:
        """Return the number of items in a loaded split; for train, those of an epoch on all devices."""
        return super().num_items(split) * (self.hparams["batch_size"] if split == "train" else 1)

    def train_dataloader(self) -> Loader:
        """Return ``steps_per_epoch`` batches of new items."""
        batches = self.load_split("train")
        return self.loader(batches, batch_size=None, sampler=self.sampler(batches, shuffle=False))
