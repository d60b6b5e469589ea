"""Your own images in one NumPy array."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightning_flows.data.datasets.array_files import names_in, read_array, reading, shape_of
from lightning_flows.data.datasets.images import ImageDataset
from lightning_flows.data.images import ImageDataModule
from lightning_flows.errors import DataError, UsageError, check_fractions
from lightning_flows.functional.streams import stream

REMEDY = "set --data.path to an .npy of images, uint8 (N, H, W) or (N, H, W, C), or an .npz with `images`"


class ArrayImageDataModule(ImageDataModule):
    """Images in an ``.npy`` or ``.npz`` file, divided at random into train, val and test.

    Args:
        path: an ``.npy`` of images, uint8 (N, H, W) or (N, H, W, C); or an ``.npz`` with such an array ``images``, and
            optionally ``labels``, integers (N,).
        levels: number of levels of a pixel: values are 0 to ``levels - 1``.
        val_fraction: fraction of the images for validation.
        test_fraction: fraction of the images for testing.
        augment: flip training images at random and shift them.
        kwargs: other arguments of :class:`ImageDataModule`; ``seed`` also determines the split.

    Shapes: images uint8 ``(B, C, H, W)``, without a channel axis in the file ``(B, 1, H, W)``.
    Raises: UsageError for levels outside 2 to 256, or fractions outside [0, 1]. DataError, when the shape is first
    needed, for a file that is missing, damaged, or has no such images.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/images.npy", np.zeros((100, 8, 8), dtype=np.uint8))
    ...     data = ArrayImageDataModule(f"{folder}/images.npy", batch_size=16)
    ...     data.setup("fit")
    >>> data.event_shape, data.num_items("train"), next(iter(data.train_dataloader()))["image"].shape
    ((1, 8, 8), 80, torch.Size([16, 1, 8, 8]))
    """

    splits_by_position = True

    def __init__(
        self,
        path: str = "data/images.npz",
        *,
        levels: int = 256,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        augment: bool = False,
        **kwargs: Any,
    ) -> None:
        self.stored_levels = levels
        super().__init__(augment=augment, **kwargs)
        if not 2 <= levels <= 256:
            raise UsageError(f"expected levels from 2 to 256; got {levels}")
        check_fractions(val_fraction, test_fraction)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        _, height, width, *channels = self._shape
        return channels[0] if channels else 1, height, width

    def split_arguments(self) -> tuple[str, ...]:
        return "seed", "val_fraction", "test_fraction"

    def load_split(self, split: str) -> ImageDataset:
        chosen = self._indices(split)
        with reading(self._path, REMEDY):
            images = read_array(self._path, "images", self._shape)[chosen]
            if images.dtype != np.uint8:
                raise DataError(f"has images of {images.dtype}, not of uint8")
            if images.max(initial=0) >= self.stored_levels:
                raise DataError(f"has images with the level {images.max()}, of 0 to {self.stored_levels - 1}")
            labels = self._labels()[chosen]
        images = images[:, None] if images.ndim == 3 else np.moveaxis(images, 3, 1)
        names = [str(i) for i in chosen]
        return ImageDataset(torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(labels), names=names)

    @property
    def _path(self) -> Path:
        return Path(self.hparams["path"])

    @cached_property
    def _shape(self) -> tuple[int, ...]:
        with reading(self._path, REMEDY):
            shape = shape_of(self._path, "images")
            if len(shape) not in (3, 4) or 0 in shape:
                raise DataError(f"has images of shape {' x '.join(map(str, shape))}, not N x H x W or N x H x W x C")
        return shape

    def _labels(self) -> np.ndarray:
        num = self._shape[0]
        if "labels" not in names_in(self._path):
            return np.zeros(num, np.int64)
        labels = read_array(self._path, "labels", (num,))
        if labels.dtype.kind not in "biu":
            raise DataError(f"has labels of {labels.dtype}, not integers")
        return labels.astype(np.int64)

    def _indices(self, split: str) -> np.ndarray:
        """Return the numbers of a split's images, in a random order that depends only on the seed."""
        num, seed = self._shape[0], self.hparams["seed"]
        order = torch.randperm(num, generator=stream(seed, "split of an array")).numpy()
        num_val, num_test = (round(num * self.hparams[f"{name}_fraction"]) for name in ("val", "test"))
        num_test = min(num_test, num - num_val)  # both may round up
        start = num - num_val - num_test
        return {"train": order[:start], "val": order[start : start + num_val], "test": order[start + num_val :]}[split]
