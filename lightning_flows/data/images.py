"""The base of image data modules: items, augmentation, and checks."""

from abc import abstractmethod
from typing import Any, get_args

from lightning.pytorch.utilities import rank_zero_warn

from lightning_flows.data.base import FlowDataModule
from lightning_flows.data.datasets.augmentation import AugmentedImages
from lightning_flows.data.datasets.binarization import Binarization, binarized
from lightning_flows.data.datasets.images import ImageDataset
from lightning_flows.errors import InputTypeError, ShapeError, UsageError, check_sizes


class ImageDataModule(FlowDataModule):
    """Images for a flow, as batches ``{"image": uint8 (B, C, H, W), "label": int64 (B,), "index": int64 (B,)}``.

    Subclasses implement :attr:`image_shape`, ``(C, H, W)``, and :meth:`load_split`, which returns an
    :class:`~lightning_flows.data.datasets.ImageDataset` of such images.

    Args:
        augment: flip training images at random and shift them, repeating the pixels at their edges. What happens to an
            image depends only on ``seed``, the epoch and its index.
        shift: largest shift in pixels, before averaging; by default 4 % of height and width, as in the paper.
        downsample: average squares of this many by this many pixels, after augmentation, and round; 1: no averaging.
        binarization: for binary images, 0 and 1: a pixel of level v of L is 1 with probability p = v/(L − 1).
            ``threshold``: 1 if p is at least 1/2; ``fixed``: drawn once per image; ``dynamic``: drawn in each epoch of
            training, otherwise fixed.
        binarization_seed: seed of the fixed draws, which depend only on it and the image's split and index. Dynamic
            draws depend on ``seed``, the epoch and the index.
        kwargs: arguments of :class:`FlowDataModule`.

    Raises: UsageError for an unknown binarization, and for one of images that are binary already or have a transform;
        for a negative shift; for a binarization of whole images before augmentation, which comes before averaging; and,
        when the shape is first needed, for a height or width that ``downsample`` does not divide.

    >>> import torch
    >>> class Noise(ImageDataModule):
    ...     image_shape = (3, 16, 16)
    ...     def load_split(self, split):
    ...         return ImageDataset(torch.randint(256, (100, 3, 16, 16), dtype=torch.uint8))
    >>> data = Noise(downsample=2, batch_size=10)
    >>> data.setup("fit")
    >>> data.event_shape, next(iter(data.train_dataloader()))["image"].shape
    ((3, 8, 8), torch.Size([10, 3, 8, 8]))
    """

    stored_levels: int = 256
    """Levels of the images that ``load_split`` returns: their values are 0 to ``stored_levels - 1``."""

    def __init__(
        self,
        *,
        augment: bool = True,
        shift: int | None = None,
        downsample: int = 1,
        binarization: Binarization = "none",
        binarization_seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_sizes(downsample=downsample)
        if shift is not None:
            check_sizes(0, shift=shift)
        if binarization not in (names := get_args(Binarization)):
            raise UsageError(f"expected a binarization of {', '.join(names)}; got {binarization}")
        if augment and downsample > 1 and binarization in ("threshold", "fixed"):
            raise UsageError(
                f"binarization={binarization} is once per image, before augmentation, and averaging comes after it: "
                "set --data.augment to false, or --data.binarization to dynamic"
            )
        if binarization != "none" and self.stored_levels == 2:
            raise UsageError(f"the images of {type(self).__name__} are binary already: omit binarization")

    @property
    @abstractmethod
    def image_shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of the images that ``load_split`` returns; known before ``setup``."""

    @property
    def event_shape(self) -> tuple[int, int, int]:
        """Shape of an item, after averaging."""
        channels, height, width = self.image_shape
        if height % (size := self.hparams["downsample"]) or width % size:
            raise UsageError(
                f"images of {height}x{width} pixels do not divide into squares of {size}x{size}: set --data.downsample "
                "to a divisor of height and width"
            )
        return channels, height // size, width // size

    @property
    def num_levels(self) -> int:
        """Number of levels of a pixel, 2 if it is binary: values are 0 to ``num_levels - 1``."""
        return self.stored_levels if self.hparams["binarization"] == "none" else 2

    @abstractmethod
    def load_split(self, split: str) -> ImageDataset: ...

    def prepared(self, split: str, dataset: Any) -> ImageDataset:
        """Check type and shape, then augment, average and binarize."""
        if not isinstance(dataset, ImageDataset):
            got = type(dataset).__name__
            raise InputTypeError(f"expected {type(self).__name__}.load_split to return an ImageDataset; got {got}")
        if (shape := tuple(dataset.images.shape[1:])) != tuple(self.image_shape):
            raise ShapeError(f"expected images of shape {tuple(self.image_shape)}; got {shape} in the {split} split")
        how, seed = self.hparams["binarization"], self.hparams["binarization_seed"]
        if how != "none" and dataset.transform is not None:
            raise UsageError(
                f"binarization={how} comes before a transform of the {split} split: omit one of them, or transform the "
                "images in load_split"
            )
        if split == "train" and self.hparams["shift"] is not None and not self.hparams["augment"]:
            rank_zero_warn("--data.shift has no effect without augmentation: set --data.augment=true, or omit it")
        shift = self._shift if split == "train" and self.hparams["augment"] else None
        once = how in ("threshold", "fixed")  # binary images are augmented
        if self.hparams["downsample"] > 1 or (shift is not None and not once):
            dataset = AugmentedImages(dataset, None if once else shift, self.hparams["downsample"])
        dataset = binarized(dataset, how, split=split, num_levels=self.stored_levels, seed=seed)
        return AugmentedImages(dataset, shift) if once and shift is not None else dataset

    @property
    def _shift(self) -> tuple[int, int]:
        """Largest shifts in pixels, vertical and horizontal."""
        _, height, width = self.image_shape
        given = self.hparams["shift"]
        return (round(0.04 * height), round(0.04 * width)) if given is None else (given, given)
