"""MNIST as it was binarized once, by Salakhutdinov and Murray (2008)."""

from pathlib import Path
from typing import Any

import torch

from lightning_flows.data.datasets.array_files import reading
from lightning_flows.data.datasets.binary_text import read_binary_text
from lightning_flows.data.datasets.images import ImageDataset
from lightning_flows.data.images import ImageDataModule

NUM = {"train": 50_000, "val": 10_000, "test": 10_000}
FILES = {
    "train": "binarized_mnist_train.amat",
    "val": "binarized_mnist_valid.amat",
    "test": "binarized_mnist_test.amat",
}


class StaticMNISTDataModule(ImageDataModule):
    """Static binarized MNIST, 28x28, values 0 and 1: 50,000 train, 10,000 validate, 10,000 test.

    Args:
        root: folder of ``binarized_mnist_train.amat``, ``binarized_mnist_valid.amat`` and ``binarized_mnist_test.amat``
            from Hugo Larochelle's page of data.
        augment: flip training images at random and shift them.
        kwargs: other arguments of :class:`ImageDataModule`.

    Shapes: images uint8 ``(B, 1, 28, 28)``.
    Raises: DataError in ``setup`` if a file is missing, truncated, or has other content.

    >>> data = StaticMNISTDataModule("data")  # read by setup
    >>> data.event_shape, data.num_levels
    ((1, 28, 28), 2)
    """

    stored_levels = 2

    def __init__(self, root: str = "data", *, augment: bool = False, **kwargs: Any) -> None:
        super().__init__(augment=augment, **kwargs)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return 1, 28, 28

    def load_split(self, split: str) -> ImageDataset:
        path = Path(self.hparams["root"]) / FILES[split]
        with reading(path, f"put {', '.join(FILES.values())} from Hugo Larochelle's page into data.root"):
            return ImageDataset(torch.from_numpy(read_binary_text(path, (NUM[split], 784))).view(-1, 1, 28, 28))
