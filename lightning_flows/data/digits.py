"""scikit-learn's digits: small images without a download."""

from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits

from lightning_flows.data.datasets.images import ImageDataset
from lightning_flows.data.images import ImageDataModule

NUM = 1797
SPLITS = {"train": slice(1297), "val": slice(1297, 1547), "test": slice(1547, NUM)}
SPLIT_SEED = 123


class DigitsDataModule(ImageDataModule):
    """The digits that scikit-learn includes, 8x8 with 17 levels, 0 to 16: 1,297 train, 250 validate, 250 test.

    They are permuted by NumPy's ``RandomState(123)`` and split in this order. ``binarization`` makes them binary: a
    pixel is 1 with probability v/16.

    Args:
        augment: flip training images at random and shift them.
        kwargs: other arguments of :class:`ImageDataModule`.

    Shapes: images uint8 ``(B, 1, 8, 8)``.

    >>> data = DigitsDataModule(binarization="dynamic")
    >>> data.setup("fit")
    >>> data.event_shape, data.num_levels, data.num_items("train"), data.dataset("train")[0]["image"].max().item()
    ((1, 8, 8), 2, 1297, 16)
    """

    stored_levels = 17

    def __init__(self, *, augment: bool = False, **kwargs: Any) -> None:
        super().__init__(augment=augment, **kwargs)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return 1, 8, 8

    def load_split(self, split: str) -> ImageDataset:
        digits = load_digits()
        chosen = np.random.RandomState(SPLIT_SEED).permutation(NUM)[SPLITS[split]]
        images = torch.from_numpy(digits.images[chosen, None].astype(np.uint8))
        return ImageDataset(images, torch.from_numpy(digits.target[chosen]), names=[f"{i:04d}" for i in chosen])
