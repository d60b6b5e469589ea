"""The base of all images: loaders, augmentation and stages; a subclass only says how to load a part."""

import math
import threading
import time
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import v2

from lightning_flows.data.base import PARTS, FlowDataModule, Loader, each_once, not_loaded
from lightning_flows.data.datasets import ImageDataset
from lightning_flows.data.datasets.samplers import ShuffledSampler, TrainingImages
from lightning_flows.errors import DataError, ShapeError, UsageError
from lightning_flows.functional.ranks import num_ranks, rank

MAX_WORKERS = 256  # each is a process; a checkpoint that somebody else wrote may ask for any number


class ImageDataModule(FlowDataModule):
    """Images for a flow, as batches ``{"image": uint8 (B, C, H, W), "label": int64 (B,), "index": int64 (B,)}``.

    Subclasses implement :attr:`event_shape` and :meth:`load_part`. Evaluation sees each image exactly once, for any
    number of devices.

    Args:
        batch_size: images per training batch and device.
        eval_batch_size: images per validation, test or prediction batch and device; default: batch_size.
        num_workers: worker processes that load batches.
        worker_timeout: seconds to wait for a batch from a worker before the run ends with an error; 0: no limit.
        seed: seed of random splits, the order of training images and their augmentation.
        augment: flip training images at random and shift them by up to 4 % of their size.

    Raises: ShapeError if a batch size is below 1 or num_workers is negative; UsageError if worker_timeout is negative,
    infinite or NaN.
    """

    predict_part = "test"
    """What ``predict`` scores."""

    def __init__(
        self,
        *,
        batch_size: int = 256,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        seed: int = 0,
        augment: bool = True,
        worker_timeout: float = 300.0,
    ) -> None:
        super().__init__()
        if batch_size < 1 or (eval_batch_size is not None and eval_batch_size < 1):
            raise ShapeError(
                f"expected batch_size and eval_batch_size of at least 1; got {batch_size} and {eval_batch_size}"
            )
        if not 0 <= num_workers <= MAX_WORKERS:
            raise UsageError(f"expected num_workers from 0 to {MAX_WORKERS}; got {num_workers}")
        if not 0 <= worker_timeout < math.inf:
            raise UsageError(f"expected a worker_timeout of 0 (no limit) or more seconds; got {worker_timeout}")
        self._datasets: dict[str, ImageDataset] = {}

    @property
    @abstractmethod
    def event_shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of an image; known from the start."""

    @abstractmethod
    def load_part(self, part: str) -> ImageDataset:
        """Read one part (train, val, test or :attr:`predict_part`) into memory; called once a part, by ``setup``."""

    def load_parts(self, parts: Sequence[str]) -> dict[str, ImageDataset]:
        """Read the splits of one stage: each on its own, unless a subclass reads them together."""
        return {part: self.load_part(part) for part in parts}

    @property
    def num_test(self) -> int:
        """Number of test images. Raises: RuntimeError before ``setup("test")``."""
        return len(self.dataset("test"))

    def setup(self, stage: str) -> None:
        """Load what a stage needs: fit train and val, validate val, test and predict their own part.

        Raises: DataError if a part is empty, or cannot be read.
        """
        missing = {part: self.predict_part if part == "predict" else part for part in PARTS[stage]}
        missing = {part: source for part, source in missing.items() if part not in self._datasets}
        loaded = self.load_parts(list(missing.values())) if missing else {}
        for part, source in missing.items():
            dataset = loaded[source]
            if len(dataset) == 0:
                raise DataError(f"{type(self).__name__} has no images in its {part} part: expected at least one")
            if part == "train" and self.hparams["augment"]:
                dataset.transform = augmentation(self.event_shape[-1])
            self._datasets[part] = dataset

    def dataset(self, part: str) -> ImageDataset:
        """Return the dataset of a part: train, val, test or predict.

        Raises: RuntimeError if ``setup`` has not loaded it.
        """
        if part not in self._datasets:
            raise not_loaded(part)
        return self._datasets[part]

    def predict_names(self) -> list[str]:
        """Return the name of each image that is predicted, by ``index``."""
        return self.dataset("predict").names

    def train_dataloader(self) -> Loader:
        """Return shuffled batches; an incomplete last one is dropped if two full ones (a device) remain.

        Order and augmentation follow from ``seed``, epoch and image, so that a run that was stopped goes on with the
        very images that it would have seen, and all devices together see what one would.
        """
        batch_size, seed = self.hparams["batch_size"], self.hparams["seed"]
        images = TrainingImages(self.dataset("train"), seed=seed)
        sampler = ShuffledSampler(
            images,
            batch_size=batch_size,
            drop_last=len(images) >= 2 * batch_size * num_ranks(),
            seed=seed,
            num_ranks=num_ranks(),
            rank=rank(),
            first_step=self.steps_done,
        )
        return self._loader(images, batch_size=batch_size, sampler=sampler)

    def eval_dataloader(self, part: str) -> Loader:
        """Return the items of a part in order, each once, whatever the number of ranks."""
        dataset, batch_size = self.dataset(part), self.hparams["eval_batch_size"] or self.hparams["batch_size"]
        return self._loader(dataset, batch_size=batch_size, sampler=each_once(dataset, f"{part} image"))

    def _loader(
        self, dataset: Dataset[dict[str, Tensor]], *, batch_size: int, sampler: Sampler[int] | None = None
    ) -> Loader:
        num_workers: int = self.hparams["num_workers"]
        return LazyLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=num_workers,
            worker_timeout=self.hparams["worker_timeout"],
            persistent_workers=num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )


class LazyLoader(DataLoader[dict[str, Tensor]]):
    """DataLoader that starts sampling when the first batch is requested, and kills workers that time out.

    When a run is resumed, Lightning creates the iterator before it restores epoch and batch, and workers would prefetch
    the wrong batches. DataLoader's own ``timeout`` does not cover the transfer of a batch, in which a stopped worker
    blocks it forever.

    Args:
        args: arguments of DataLoader.
        worker_timeout: seconds to wait for a batch from a worker; 0: no limit.
        kwargs: arguments of DataLoader.

    Raises: DataError if no batch arrives in time.
    """

    def __init__(self, *args: Any, worker_timeout: float = 0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.worker_timeout = worker_timeout

    def __iter__(self) -> Iterator[dict[str, Tensor]]:  # type: ignore[override]
        batches = super().__iter__()
        workers = getattr(batches, "_workers", [])
        if not workers or not self.worker_timeout:
            yield from batches
            return
        while (batch := self._next(batches, workers)) is not None:
            yield batch

    def _next(self, batches: Iterator[dict[str, Tensor]], workers: list[Any]) -> dict[str, Tensor] | None:
        late = threading.Event()

        def end() -> None:
            late.set()
            for worker in workers:
                worker.kill()  # a stopped process reacts to nothing else; its exit wakes the main thread

        timer = threading.Timer(self.worker_timeout, end)
        timer.daemon = True
        timer.start()
        try:
            return next(batches, None)
        except Exception as error:
            if not late.is_set():
                raise
            _wait_for_end(workers)
            raise DataError(
                f"the processes that load data did not answer: DataLoader timed out after {self.worker_timeout:g} "
                "seconds; try fewer data.num_workers, or a larger data.worker_timeout (0: no limit)"
            ) from error
        finally:
            timer.cancel()


def _wait_for_end(workers: list[Any]) -> None:
    """Wait until killed processes are gone and torch, which raises when it notices, has noticed."""
    for _ in workers:
        try:
            for worker in workers:
                worker.join()
            time.sleep(0.01)
        except RuntimeError:
            continue  # raised by torch
        return


def augmentation(size: int) -> v2.Transform:
    """Return the authors' augmentation: a horizontal flip and a shift by up to 4 % with repeated edge pixels.

    Shapes: uint8 ``(C, size, size)`` to the same.
    """
    crop = v2.RandomCrop(size, padding=round(0.04 * size), padding_mode="edge")
    return v2.Compose([v2.RandomHorizontalFlip(), crop])
