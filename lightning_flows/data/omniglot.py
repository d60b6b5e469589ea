"""Omniglot: handwritten characters of 50 alphabets, at 28x28 pixels."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightning_flows.data.datasets.array_files import read_mat, reading, to_levels
from lightning_flows.data.datasets.binarization import Binarization
from lightning_flows.data.datasets.images import ImageDataset
from lightning_flows.data.images import ImageDataModule

NUM_TRAIN, NUM_VAL, NUM_TEST = 23_000, 1345, 8070
SPLIT_SEED = 123


class OmniglotDataModule(ImageDataModule):
    """Omniglot, 28x28, binarized: 23,000 train, 1,345 validate, 8,070 test, as Burda et al. (2016) made the files.

    The training images are permuted by NumPy's ``RandomState(123)``, and the last 1,345 of them validate; published
    code shuffles them as well, without a seed. Gray levels are rounded to multiples of 1/255.

    Args:
        path: ``chardata.mat``, with arrays ``data`` and ``testdata`` of columns.
        binarization: see :class:`ImageDataModule`; by default drawn anew in each epoch of training, as published.
        augment: flip training images at random and shift them.
        kwargs: other arguments of :class:`ImageDataModule`.

    Shapes: images uint8 ``(B, 1, 28, 28)``.
    Raises: DataError in ``setup`` if the file is missing, damaged, or has other content.

    >>> data = OmniglotDataModule("data/chardata.mat")  # read by setup
    >>> data.event_shape, data.num_levels, data.hparams["binarization"]
    ((1, 28, 28), 2, 'dynamic')
    """

    def __init__(
        self,
        path: str = "data/chardata.mat",
        *,
        binarization: Binarization = "dynamic",
        augment: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(augment=augment, binarization=binarization, **kwargs)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return 1, 28, 28

    def load_split(self, split: str) -> ImageDataset:
        path = Path(self.hparams["path"])
        with reading(path, "set --data.path to chardata.mat, from datasets/OMNIGLOT of Yuri Burda's code `iwae`"):
            if split == "test":
                (columns,) = read_mat(path, {"testdata": (784, NUM_TEST)})
                chosen = np.arange(NUM_TEST)
            else:
                (columns,) = read_mat(path, {"data": (784, NUM_TRAIN + NUM_VAL)})
                order = np.random.RandomState(SPLIT_SEED).permutation(NUM_TRAIN + NUM_VAL)
                chosen = order[:NUM_TRAIN] if split == "train" else order[NUM_TRAIN:]
            images = (
                to_levels(columns.T[chosen], rounded=True).reshape(-1, 1, 28, 28).swapaxes(2, 3)
            )  # column by column
        names = [f"{'testdata' if split == 'test' else 'data'}/{i:05d}" for i in chosen]
        return ImageDataset(torch.from_numpy(np.ascontiguousarray(images)), names=names)
