"""The base of image data modules: items, augmentation, and checks."""

from abc import abstractmethod
from typing import Any

from torchvision.transforms import v2

from lightning_flows.data.base import FlowDataModule
from lightning_flows.data.datasets.binarization import Binarization, binarized
from lightning_flows.data.datasets.images import ImageDataset
from lightning_flows.errors import InputTypeError, ShapeError, UsageError


class ImageDataModule(FlowDataModule):
    """Images for a flow, as batches ``{"image": uint8 (B, C, H, W), "label": int64 (B,), "index": int64 (B,)}``.

    Subclasses implement :attr:`event_shape`, ``(C, H, W)``, and :meth:`load_split`, which returns an
    :class:`~lightning_flows.data.datasets.ImageDataset`.

    Args:
        augment: flip training images at random and shift them by up to 4 % of their size.
        binarization: for binary images, 0 and 1: a pixel of level v of L is 1 with probability p = v/(L − 1).
            ``threshold``: 1 if p is at least 1/2; ``fixed``: drawn once per image; ``dynamic``: drawn in each epoch of
            training, otherwise fixed.
        binarization_seed: seed of the fixed draws, which depend only on it and the image's split and index. Dynamic
            draws depend on ``seed``, the epoch and the index.
        kwargs: arguments of :class:`FlowDataModule`.

    Raises: UsageError for a binarization of images that are binary already.
    """

    stored_levels: int = 256
    """Levels of the images that ``load_split`` returns: their values are 0 to ``stored_levels - 1``."""

    def __init__(
        self, *, augment: bool = True, binarization: Binarization = "none", binarization_seed: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if binarization != "none" and self.stored_levels == 2:
            raise UsageError(f"the images of {type(self).__name__} are binary already: omit binarization")

    @property
    @abstractmethod
    def event_shape(self) -> tuple[int, int, int]: ...

    @property
    def num_levels(self) -> int:
        """Number of levels of a pixel, 2 if it is binary: values are 0 to ``num_levels - 1``."""
        return self.stored_levels if self.hparams["binarization"] == "none" else 2

    @abstractmethod
    def load_split(self, split: str) -> ImageDataset: ...

    def prepared(self, split: str, dataset: Any) -> ImageDataset:
        """Check type and shape, then augment and binarize."""
        if not isinstance(dataset, ImageDataset):
            got = type(dataset).__name__
            raise InputTypeError(f"expected {type(self).__name__}.load_split to return an ImageDataset; got {got}")
        if (shape := tuple(dataset.images.shape[1:])) != tuple(self.event_shape):
            raise ShapeError(f"expected images of shape {tuple(self.event_shape)}; got {shape} in the {split} split")
        if split == "train" and self.hparams["augment"]:
            dataset.transform = augmentation(*self.event_shape[1:])
        how, seed = self.hparams["binarization"], self.hparams["binarization_seed"]
        return binarized(dataset, how, split=split, num_levels=self.stored_levels, seed=seed)


def augmentation(height: int, width: int) -> v2.Transform:
    """Return the authors' augmentation: a horizontal flip and a shift by up to 4 % with repeated edge pixels.

    Shapes: uint8 ``(C, height, width)`` to the same.
    """
    padding = [round(0.04 * width), round(0.04 * height)]
    crop = v2.RandomCrop((height, width), padding=padding, padding_mode="edge")
    return v2.Compose([v2.RandomHorizontalFlip(), crop])
