r"""Binary images from gray levels: a pixel of level v of L is 1 with probability v/(L − 1)."""

from typing import Literal

import torch
from torch import Tensor

from lightning_flows.data.datasets.images import ImageDataset
from lightning_flows.functional.philox import Streams, streams

Binarization = Literal["none", "threshold", "fixed", "dynamic"]
"""Keep the levels; or 1 for a probability of at least 1/2; or draw once per image; or in training in each epoch."""

CHUNK = 1000  # images that are drawn at once


def drawn(images: Tensor, num_levels: int, source: Streams) -> Tensor:
    """Draw pixels: 1 with probability v/(L − 1) at level v, otherwise 0.

    Shapes: uint8 ``(B, C, H, W)`` to the same, with a stream for each image.
    """
    return (source.uniform(images.shape[1:], torch.float32) < images / (num_levels - 1)).to(torch.uint8)


class DynamicImages(ImageDataset):
    """Gray images that are drawn anew whenever training visits them, from (seed, epoch, image).

    Read by index, they are gray.

    Args:
        gray: gray images, with levels 0 to ``num_levels - 1``.
        num_levels: L.
    """

    def __init__(self, gray: ImageDataset, num_levels: int = 256) -> None:
        super().__init__(gray.images, gray.labels, names=gray.names)
        self.gray, self.num_levels = gray, num_levels

    def batch(self, indices: Tensor) -> dict[str, Tensor]:
        return self.gray.batch(indices)

    def training_batch(self, numbers: Tensor, seed: int) -> dict[str, Tensor]:
        batch = self.gray.training_batch(numbers, seed)
        return batch | {"image": drawn(batch["image"], self.num_levels, streams(seed, "binarization", numbers))}


def binarized(
    gray: ImageDataset, how: Binarization, *, split: str, num_levels: int = 256, seed: int = 0
) -> ImageDataset:
    """Return a split of binary images; only ``train`` is ever drawn dynamically.

    Args:
        gray: gray images, with levels 0 to ``num_levels - 1``.
        how: see :data:`Binarization`.
        split: train, val, test or predict.
        num_levels: L.
        seed: with split and index of an image, what a fixed draw depends on.
    """
    if how == "none":
        return gray
    if how == "dynamic" and split == "train":
        return DynamicImages(gray, num_levels)
    if how == "threshold":
        images = (gray.images >= num_levels // 2).to(torch.uint8)
    else:
        images = torch.empty_like(gray.images)
        for indices in torch.arange(len(gray)).split(CHUNK):
            source = streams(seed, f"fixed binarization of {split}", indices)
            images[indices] = drawn(gray.images[indices], num_levels, source)
    return ImageDataset(images, gray.labels, names=gray.names, transform=gray.transform)
