"""The base of image data modules: items, augmentation, and checks."""

from abc import abstractmethod
from typing import Any

from torchvision.transforms import v2

from lightning_flows.data.base import FlowDataModule
from lightning_flows.data.datasets.images import ImageDataset
from lightning_flows.errors import InputTypeError, ShapeError


class ImageDataModule(FlowDataModule):
    """Images for a flow, as batches ``{"image": uint8 (B, C, H, W), "label": int64 (B,), "index": int64 (B,)}``.

    Subclasses implement :attr:`event_shape`, ``(C, H, W)``, and :meth:`load_split`, which returns an
    :class:`~lightning_flows.data.datasets.ImageDataset`.

    Args:
        augment: flip training images at random and shift them by up to 4 % of their size.
        kwargs: arguments of :class:`FlowDataModule`.
    """

    def __init__(self, *, augment: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    @property
    @abstractmethod
    def event_shape(self) -> tuple[int, int, int]: ...

    @property
    def num_levels(self) -> int:
        """Number of values of a pixel, from 0 to ``num_levels - 1``."""
        return 256

    @abstractmethod
    def load_split(self, split: str) -> ImageDataset: ...

    def setup(self, stage: str) -> None:
        super().setup(stage)
        for split, dataset in self._datasets.items():
            if not isinstance(dataset, ImageDataset):
                got = type(dataset).__name__
                raise InputTypeError(f"expected {type(self).__name__}.load_split to return an ImageDataset; got {got}")
            if (shape := tuple(dataset.images.shape[1:])) != tuple(self.event_shape):
                raise ShapeError(
                    f"expected images of shape {tuple(self.event_shape)}; got {shape} in the {split} split"
                )
            if split == "train" and self.hparams["augment"]:
                dataset.transform = augmentation(*self.event_shape[1:])


def augmentation(height: int, width: int) -> v2.Transform:
    """Return the authors' augmentation: a horizontal flip and a shift by up to 4 % with repeated edge pixels.

    Shapes: uint8 ``(C, height, width)`` to the same.
    """
    padding = [round(0.04 * width), round(0.04 * height)]
    crop = v2.RandomCrop((height, width), padding=padding, padding_mode="edge")
    return v2.Compose([v2.RandomHorizontalFlip(), crop])
