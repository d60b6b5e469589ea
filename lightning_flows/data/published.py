"""The base of data modules over data sets that torchvision downloads."""

import socket
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from torchvision.datasets import VisionDataset

from lightning_flows.data.datasets import ImageDataset
from lightning_flows.data.images import ImageDataModule
from lightning_flows.errors import DataError

NO_ANSWER = 60.0
"""Seconds after which a download that brings nothing has failed."""


class PublishedDataModule(ImageDataModule):
    """A data set of torchvision with parts ``train=True`` and ``False``; the last ``num_val`` of the first validate.

    Images are padded with zeros, evenly on all sides, to the size in ``event_shape``.

    Args:
        root: folder of the data set; it is downloaded there if it is missing.
        kwargs: arguments of :class:`ImageDataModule`.
    """

    source: ClassVar[type[VisionDataset]]
    archives: ClassVar[str]  # what to put into which folder of root, for the error message
    image_size: ClassVar[tuple[int, int]] = (32, 32)  # as published
    num_val: ClassVar[int] = 10_000

    def __init__(self, root: str = "data", **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def prepare_data(self) -> None:
        """Download the data set unless it is there.

        Raises: DataError saying what is missing and what to do.
        """
        self._open(train=False, download=True)

    def load_part(self, part: str) -> ImageDataset:
        """Read one part; the names are ``train/00000`` … and ``test/00000`` …, by position in the published files.

        Raises: DataError saying what is missing or damaged and what to do.
        """
        data = self._open(train=part != "test", download=False)
        images = torch.as_tensor(np.asarray(data.data))
        images = images.permute(0, 3, 1, 2) if images.ndim == 4 else images.unsqueeze(1)  # color is (N, H, W, 3)
        if len(images) != len(data.targets):
            raise DataError(
                f"{self.source.__name__} in {self.hparams['root']} has {len(images)} images and {len(data.targets)} "
                f"labels: put {self.archives.format(root=self.hparams['root'])}"
            )
        expected = (self.event_shape[0], *self.image_size)
        if images.dtype != torch.uint8 or images.shape[1:] != expected:
            raise DataError(
                f"{self.source.__name__} in {self.hparams['root']} has {images.dtype} images of shape "
                f"{tuple(images.shape[1:])}, not {expected}: put {self.archives.format(root=self.hparams['root'])}"
            )
        file = "test" if part == "test" else "train"
        dataset = ImageDataset(
            self._padded(images),
            torch.as_tensor(data.targets),
            names=[f"{file}/{i:05d}" for i in range(len(images))],
        )
        num_train = max(0, len(images) - self.num_val)
        chosen = {"train": range(num_train), "val": range(num_train, len(images)), "test": range(len(images))}
        return dataset.select(chosen[part])

    def _padded(self, images: Tensor) -> Tensor:
        margin = (self.event_shape[-1] - images.shape[-1]) // 2
        return pad(images, [margin] * 4).contiguous()

    def _open(self, *, train: bool, download: bool) -> Any:
        root, timeout = self.hparams["root"], socket.getdefaulttimeout()
        socket.setdefaulttimeout(NO_ANSWER)
        try:
            return self.source(root, train=train, download=download)
        except Exception as error:  # a broken file or response may raise anything
            reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            raise DataError(
                f"{self.source.__name__} is missing or damaged in {root} and cannot be downloaded ({reason[0]}): "
                f"put {self.archives.format(root=root)}, or use your own images: "
                "--data ImageFolderDataModule --data.root=FOLDER"
            ) from error
        finally:
            socket.setdefaulttimeout(timeout)
