"""Datasets downloaded by torchvision: CIFAR-10, MNIST and Fashion-MNIST."""

import socket
from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from torch.nn.functional import pad
from torchvision import datasets

from lightning_flows.data.datasets.images import ImageDataset
from lightning_flows.data.images import ImageDataModule
from lightning_flows.errors import DataError

NO_ANSWER = 60.0
"""Timeout of a download in seconds."""


class PublishedDataModule(ImageDataModule):
    """A dataset of torchvision with ``train=True`` and ``False``; the last ``num_val`` training images validate.

    Images are padded with zeros, evenly on all sides, to :attr:`image_shape`.
    """

    remedy: ClassVar[str]  # for the error message: what to do with which files, and their folder in root
    shape: ClassVar[tuple[int, int, int]]  # as published
    num_val: ClassVar[int] = 10_000

    def __init__(self, root: str = "data", **kwargs: Any) -> None:
        super().__init__(**kwargs)

    @property
    @abstractmethod
    def source(self) -> type[datasets.VisionDataset]:
        """Class of torchvision that reads and downloads the dataset."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.shape

    def prepare_data(self) -> None:
        """Download the dataset unless it exists. Raises: DataError with what is missing and what to do."""
        self._open(train=False, download=True)

    def load_split(self, split: str) -> ImageDataset:
        """Read a split; images are named by position in the published files: ``train/00000``, ``test/00000``, ….

        Raises: DataError with what is missing or damaged and what to do.
        """
        data = self._open(train=split != "test", download=False)
        images = torch.as_tensor(np.asarray(data.data))
        images = images.permute(0, 3, 1, 2) if images.ndim == 4 else images.unsqueeze(1)  # color is (N, H, W, 3)
        num = len(images)
        if num != len(data.targets):
            raise self._damaged(f"has {num} images and {len(data.targets)} labels")
        if images.dtype != torch.uint8 or images.shape[1:] != self.shape:
            raise self._damaged(f"has {images.dtype} images of shape {tuple(images.shape[1:])}, not {self.shape}")
        images = pad(images, [(self.image_shape[2] - self.shape[2]) // 2] * 4).contiguous()
        file = "test" if split == "test" else "train"
        num_train = max(0, num - self.num_val)
        chosen = {"train": slice(num_train), "val": slice(num_train, num), "test": slice(num)}[split]
        names = [f"{file}/{i:05d}" for i in range(num)]
        return ImageDataset(images[chosen], torch.as_tensor(data.targets)[chosen], names=names[chosen])

    def _open(self, *, train: bool, download: bool) -> Any:
        timeout = socket.getdefaulttimeout()
        socket.setdefaulttimeout(NO_ANSWER)
        try:
            return self.source(self.hparams["root"], train=train, download=download)
        except Exception as error:  # a broken file or response may raise anything
            reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            raise self._damaged(f"is missing or damaged and cannot be downloaded ({reason[0]})") from error
        finally:
            socket.setdefaulttimeout(timeout)

    def _damaged(self, fact: str) -> DataError:
        root = self.hparams["root"]
        return DataError(
            f"{self.source.__name__} in {root} {fact}: {self.remedy.format(root=root)}, or use your own images: "
            "--data ImageFolderDataModule --data.root=FOLDER"
        )


class CIFAR10DataModule(PublishedDataModule):
    """CIFAR-10, 32x32 RGB: the first 40,000 training images train, the last 10,000 validate, 10,000 test.

    Args:
        root: folder of ``cifar-10-python.tar.gz``, downloaded if missing.
        kwargs: arguments of :class:`ImageDataModule`.

    Shapes: images uint8 ``(B, 3, 32, 32)``.

    >>> CIFAR10DataModule("data").event_shape, CIFAR10DataModule("data", downsample=2).event_shape
    ((3, 32, 32), (3, 16, 16))
    """

    source = datasets.CIFAR10
    shape = (3, 32, 32)
    remedy = "put cifar-10-python.tar.gz into {root}"


class MNISTDataModule(PublishedDataModule):
    """MNIST, 28x28 grayscale: the first 50,000 training images train, the last 10,000 validate, 10,000 test.

    Args:
        root: folder of ``MNIST/raw/*-ubyte``, downloaded if missing.
        pad: pad images with zeros to 32x32, which flows with several levels can halve more often.
        augment: flip training images at random and shift them.
        kwargs: other arguments of :class:`ImageDataModule`.

    Shapes: images uint8 ``(B, 1, 28, 28)``; with ``pad`` ``(B, 1, 32, 32)``.

    >>> MNISTDataModule("data").event_shape, MNISTDataModule("data", pad=True).event_shape
    ((1, 28, 28), (1, 32, 32))
    """

    source = datasets.MNIST
    shape = (1, 28, 28)
    remedy = (
        "decompress train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz and "
        "t10k-labels-idx1-ubyte.gz into {root}/MNIST/raw and remove any damaged file there"
    )

    def __init__(self, root: str = "data", *, pad: bool = False, augment: bool = False, **kwargs: Any) -> None:
        super().__init__(root, augment=augment, **kwargs)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return (1, 32, 32) if self.hparams["pad"] else self.shape


class FashionMNISTDataModule(MNISTDataModule):
    """Fashion-MNIST, 28x28 grayscale: 50,000 train, the last 10,000 validate, 10,000 test.

    Args:
        root: folder of ``FashionMNIST/raw/*-ubyte``, downloaded if missing.
        pad: pad images with zeros to 32x32, which flows with several levels can halve more often.
        augment: flip training images at random and shift them.
        kwargs: other arguments of :class:`ImageDataModule`.

    Shapes: images uint8 ``(B, 1, 28, 28)``; with ``pad`` ``(B, 1, 32, 32)``.

    >>> data = FashionMNISTDataModule("data", binarization="threshold")
    >>> data.event_shape, data.num_levels
    ((1, 32, 32), 2)
    """

    source = datasets.FashionMNIST
    remedy = MNISTDataModule.remedy.replace("MNIST/raw", "FashionMNIST/raw")

    def __init__(self, root: str = "data", *, pad: bool = True, augment: bool = True, **kwargs: Any) -> None:
        super().__init__(root, pad=pad, augment=augment, **kwargs)
