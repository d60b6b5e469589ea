"""Frey Faces: 1,965 frames of a video of one face."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightning_flows.data.datasets.array_files import read_npz, reading
from lightning_flows.data.datasets.images import ImageDataset
from lightning_flows.data.images import ImageDataModule
from lightning_flows.errors import DataError

NUM, HEIGHT, WIDTH = 1965, 28, 20
SPLITS = {"train": slice(1565), "val": slice(1565, 1765), "test": slice(1765, NUM)}
SPLIT_SEED = 123
REMEDY = "put freyfaces.npz there (array `images`, uint8, 1965 x 28 x 20), or set data.path"


class FreyFacesDataModule(ImageDataModule):
    """Frey Faces, 28x20 grayscale with 256 levels: 1,565 train, 200 validate, 200 test.

    The faces are permuted by NumPy's legacy generator, ``RandomState(123)``, and split in this order: as van den Berg
    et al. (2018) do by default. ``names`` are positions in the file.

    Args:
        path: ``freyfaces.npz`` with the array ``images``, uint8 (1965, 28, 20).
        augment: flip training images at random and shift them.
        kwargs: other arguments of :class:`ImageDataModule`.

    Raises: DataError in ``setup`` if the file is missing, damaged, or has images of another shape.
    """

    def __init__(self, path: str = "data/freyfaces.npz", *, augment: bool = False, **kwargs: Any) -> None:
        super().__init__(augment=augment, **kwargs)

    @property
    def event_shape(self) -> tuple[int, int, int]:
        return 1, HEIGHT, WIDTH

    def load_split(self, split: str) -> ImageDataset:
        path = Path(self.hparams["path"])
        with reading(path, REMEDY):
            images = read_npz(path, "images", (NUM, HEIGHT, WIDTH))
            if images.dtype != np.uint8:
                raise DataError(f"has images of {images.dtype}, not of uint8")
        chosen = np.random.RandomState(SPLIT_SEED).permutation(NUM)[SPLITS[split]]
        return ImageDataset(torch.from_numpy(images[chosen, None]), names=[f"{i:04d}" for i in chosen])
