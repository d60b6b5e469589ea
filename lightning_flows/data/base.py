"""The base of all data modules: stages, loaders, and what the command line needs."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from lightning_flows.checkpoints import construct, read_checkpoint
from lightning_flows.data.datasets.batches import WholeBatches, collate, in_batches
from lightning_flows.data.datasets.fingerprints import of_file
from lightning_flows.data.datasets.samplers import EpochSampler, OnceSampler, TrainingItems
from lightning_flows.data.loader import TimedLoader
from lightning_flows.errors import CheckpointError, DataError, InputTypeError, UsageError, check_sizes
from lightning_flows.functional.ranks import num_ranks, rank

STAGES = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("predict",)}
"""The splits that each stage needs."""

MAX_WORKERS = 256  # each is a process; a checkpoint from an untrusted source may ask for any number

Loader = DataLoader[dict[str, Tensor]]


class FlowDataModule(LightningDataModule, ABC):
    """Data for a flow: a subclass implements :attr:`event_shape` and :meth:`load_split`.

    Constructor arguments are plain values, stored in ``hparams``, from which a checkpoint rebuilds the data module.
    Evaluation sees each item exactly once, for any number of devices. Batches are dicts of tensors ``(B, ...)``, one of
    which is ``index``, int64 ``(B,)``.

    Args:
        batch_size: items per training batch and device.
        eval_batch_size: items per validation, test or prediction batch and device; default: batch_size.
        steps_per_epoch: training batches per epoch and device, from as many passes over the data as that takes, or from
            a part of one; default: those of one pass.
        num_workers: worker processes that load batches.
        worker_timeout: seconds to wait for a batch from a worker before the run ends with an error; 0: no limit.
        seed: seed of the random streams of the data.

    Raises: UsageError for a batch size or steps_per_epoch below 1, num_workers outside 0 to 256, or a worker_timeout
    that is negative, infinite or NaN.

    >>> from lightning_flows.data.datasets.batches import MemoryDataset
    >>> class Normal(FlowDataModule):
    ...     event_shape = (2,)
    ...     def load_split(self, split):
    ...         return MemoryDataset({"row": torch.randn({"train": 1000}.get(split, 100), 2)})
    >>> data = Normal(batch_size=50)
    >>> data.setup("fit")
    >>> data.num_items("val"), next(iter(data.train_dataloader()))["row"].shape
    (100, torch.Size([50, 2]))
    """

    predict_split: ClassVar[str] = "test"
    """The split that ``predict`` scores."""
    splits_by_position: ClassVar[bool] = False
    """Whether the split of an item depends on its position among the others, so that other files are split anew."""

    def __init__(
        self,
        *,
        batch_size: int = 256,
        eval_batch_size: int | None = None,
        steps_per_epoch: int | None = None,
        num_workers: int = 0,
        worker_timeout: float = 300.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        # includes the arguments of subclasses; loggers only record the model's, because names may coincide
        self.save_hyperparameters(logger=False)
        given = {"eval_batch_size": eval_batch_size, "steps_per_epoch": steps_per_epoch}
        check_sizes(batch_size=batch_size, **{name: n for name, n in given.items() if n is not None})
        if not 0 <= num_workers <= MAX_WORKERS:
            raise UsageError(f"expected num_workers from 0 to {MAX_WORKERS}; got {num_workers}")
        if not 0 <= worker_timeout < math.inf:  # False for NaN
            raise UsageError(f"expected a worker_timeout of 0 (no limit) or more seconds; got {worker_timeout}")
        self._datasets: dict[str, Any] = {}

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls, checkpoint_path: Any, *, map_location: Any = None, **kwargs: Any
    ) -> Any:
        """Rebuild the data module of a checkpoint; kwargs override the saved arguments."""
        record = read_checkpoint(checkpoint_path)["lightning_flows"]
        if "data" not in record:
            raise CheckpointError(f"{checkpoint_path} does not record its data: construct {cls.__name__} directly")
        return construct(cls, {**record["data"]["init_args"], **kwargs})

    @property
    @abstractmethod
    def event_shape(self) -> tuple[int, ...]:
        """Shape of an item; known before ``setup``."""

    @property
    def num_levels(self) -> int | None:
        """Number of levels of a pixel; None unless the items are images."""
        return None

    @abstractmethod
    def load_split(self, split: str) -> Dataset[dict[str, Tensor]]:
        """Load train, val, test or :attr:`predict_split`: a sized dataset of dicts of tensors.

        ``"index"`` of an item is its position in the split, an int64 scalar. If the dataset has a list ``names``,
        predictions use it to name items.
        """

    def load_splits(self, splits: Sequence[str]) -> dict[str, Any]:
        """Load the splits of a stage: one by one, unless a subclass loads them together."""
        return {split: self.load_split(split) for split in splits}

    def split_arguments(self) -> tuple[str, ...]:
        """Return the names of the arguments that determine the splits; empty if the data alone does."""
        return ()

    def setup(self, stage: str) -> None:
        """Load the splits of a stage that are not loaded yet. Raises: DataError if one is empty or cannot be read."""
        self._load(STAGES[stage])

    def load(self, split: str) -> Any:
        """Load one split without the others of its stage, and return its dataset. Raises: see :meth:`setup`."""
        self._load([split])
        return self.dataset(split)

    def _load(self, splits: Sequence[str]) -> None:
        missing = [split for split in map(self._source, splits) if split not in self._datasets]
        for split, loaded in self.load_splits(missing).items() if missing else ():
            if len(loaded) == 0:
                raise DataError(f"{type(self).__name__} has no items in its {split} split: expected at least one")
            dataset = self.prepared(split, loaded)
            item = TrainingItems(dataset, seed=0)[0]  # does not advance the global generator
            if not isinstance(item, dict) or "index" not in item:
                got = f"a dict with {', '.join(item)}" if isinstance(item, dict) else type(item).__name__
                raise InputTypeError(f"expected items of {type(self).__name__} that are dicts with 'index'; got {got}")
            self._datasets[split] = dataset
        _ = self.fingerprint  # before the files can change

    def prepared(self, split: str, dataset: Any) -> Any:
        """Check and change a split that was loaded; by default returned as it is."""
        return dataset

    def dataset(self, split: str) -> Any:
        """Return the dataset of train, val, test or predict. Raises: RuntimeError if ``setup`` has not loaded it."""
        if (source := self._source(split)) not in self._datasets:
            stages = " or ".join(f"setup({stage!r})" for stage, splits in STAGES.items() if split in splits)
            raise RuntimeError(f"the {split} split is not loaded: call {stages} first")
        return self._datasets[source]

    def num_items(self, split: str) -> int:
        """Return the number of items in a loaded split."""
        return len(self.dataset(split))

    def predict_names(self) -> Sequence[str]:
        """Return the names of the predicted items by ``index``; by default their numbers."""
        return getattr(self.dataset("predict"), "names", None) or Numbers(self.num_items("predict"))

    def digests(self, split: str) -> list[bytes]:
        """Return digests of the files of the items of a loaded split, in order; empty if items are not files."""
        return []

    @cached_property
    def fingerprint(self) -> str | None:
        """Text that differs if the files do that items are read from; None without a file that may differ.

        That of the argument ``path``, if there is one. A checkpoint records it, so that other files at the same place
        are noticed.
        """
        return of_file(self.hparams["path"]) if "path" in self.hparams else None

    @property
    def predicts_training_items(self) -> bool:
        """Whether ``predict`` also scores items of the training split, whose scores are too good."""
        return False

    def train_dataloader(self) -> Loader:
        """Return shuffled batches.

        If an epoch is one pass over the data, an incomplete last batch is dropped if at least two full ones per device
        remain.

        Order and random transforms depend only on ``seed``, epoch and item. A resumed run therefore sees exactly the
        batches of an uninterrupted one, and all devices together see those of a single device.
        """
        batch_size, seed = self.hparams["batch_size"], self.hparams["seed"]
        items = TrainingItems(self.dataset("train"), seed=seed)
        drop_last = len(items) >= 2 * batch_size * num_ranks()
        num_batches = self.hparams["steps_per_epoch"]
        sampler = self.sampler(items, batch_size=batch_size, num_batches=num_batches, drop_last=drop_last, seed=seed)
        return self.loader(items, batch_size=batch_size, sampler=sampler)

    def eval_dataloader(self, split: str) -> Loader:
        """Return val, test or predict in order, each item once over all ranks. Raises: DataError if a rank has none."""
        dataset, num = self.dataset(split), self.num_items(split)
        if num < num_ranks():
            raise DataError(f"the {split} split has {num} items for {num_ranks()} processes: use fewer devices")
        sampler = OnceSampler(dataset, num_ranks=num_ranks(), rank=rank()) if num_ranks() > 1 else None
        batch_size = self.hparams["eval_batch_size"] or self.hparams["batch_size"]
        return self.loader(dataset, batch_size=batch_size, sampler=sampler)

    def val_dataloader(self) -> Loader:
        return self.eval_dataloader("val")

    def test_dataloader(self) -> Loader:
        return self.eval_dataloader("test")

    def predict_dataloader(self) -> Loader:
        return self.eval_dataloader("predict")

    def sampler(self, dataset: Dataset[Any], **options: Any) -> EpochSampler:
        """Return this rank's resumable sampler of an endless training set."""
        return EpochSampler(dataset, num_ranks=num_ranks(), rank=rank(), first_step=self._steps_done, **options)

    def loader(self, dataset: Dataset[Any], *, batch_size: int | None, sampler: Sampler[int] | None = None) -> Loader:
        """Return a loader with this data module's workers."""
        num_workers: int = self.hparams["num_workers"]
        return TimedLoader(
            WholeBatches(dataset) if in_batches(dataset) else dataset,
            batch_size=batch_size,
            sampler=sampler,
            collate_fn=None if batch_size is None else collate,
            num_workers=num_workers,
            worker_timeout=self.hparams["worker_timeout"],
            persistent_workers=num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # seeds the workers; the default would advance the global generator
        )

    def _source(self, split: str) -> str:
        return self.predict_split if split == "predict" else split

    def _steps_done(self) -> int:
        """Number of batches of the current epoch that a resumed run has already trained on."""
        if self.trainer is None or not self.trainer.training:
            return 0
        return self.trainer.fit_loop.batch_idx + 1


class Numbers(Sequence[str]):
    """Numbers from 0 as text, none of which is stored.

    >>> list(Numbers(3))
    ['0', '1', '2']
    """

    def __init__(self, num: int) -> None:
        self.numbers = range(num)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: Any) -> Any:
        return str(self.numbers[index]) if isinstance(index, int) else [str(i) for i in self.numbers[index]]
