"""Silhouettes of the objects in Caltech 101."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightning_flows.data.datasets.array_files import read_mat, reading
from lightning_flows.data.datasets.images import ImageDataset
from lightning_flows.data.images import ImageDataModule
from lightning_flows.errors import DataError

NUM = {"train": 4100, "val": 2264, "test": 2307}


class CaltechSilhouettesDataModule(ImageDataModule):
    """Caltech 101 Silhouettes, 28x28, values 0 and 1: 4,100 train, 2,264 validate, 2,307 test (Marlin et al., 2010).

    Zeros and ones of the file are exchanged, as by van den Berg et al. (2018). Labels are the classes, 0 to 100.

    Args:
        path: ``caltech101_silhouettes_28_split1.mat``, with arrays ``train_data``, ``train_labels``, and so on.
        augment: flip training images at random and shift them.
        kwargs: other arguments of :class:`ImageDataModule`.

    Shapes: images uint8 ``(B, 1, 28, 28)``.
    Raises: DataError in ``setup`` if the file is missing, damaged, or has other content.

    >>> data = CaltechSilhouettesDataModule("data/caltech101_silhouettes_28_split1.mat")  # read by setup
    >>> data.event_shape, data.num_levels
    ((1, 28, 28), 2)
    """

    stored_levels = 2

    def __init__(
        self, path: str = "data/caltech101_silhouettes_28_split1.mat", *, augment: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(augment=augment, **kwargs)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return 1, 28, 28

    def load_split(self, split: str) -> ImageDataset:
        path, num = Path(self.hparams["path"]), NUM[split]
        remedy = "set --data.path to caltech101_silhouettes_28_split1.mat from Benjamin Marlin's page of data"
        with reading(path, remedy):
            rows, labels = read_mat(path, {f"{split}_data": (num, 784), f"{split}_labels": (num, 1)})
            if not np.isin(rows, (0, 1)).all():
                raise DataError(f"has values other than 0 and 1 in {split}_data")
            if not np.isin(labels, np.arange(1, 102)).all():
                raise DataError(f"has labels other than 1 to 101 in {split}_labels")
        images = (rows == 0).astype(np.uint8).reshape(num, 1, 28, 28).swapaxes(2, 3)  # stored column by column
        classes = torch.from_numpy(labels.astype(np.int64)).flatten() - 1
        return ImageDataset(torch.from_numpy(np.ascontiguousarray(images)), classes)
