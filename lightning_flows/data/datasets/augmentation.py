"""Images that are flipped and shifted at random, and averaged over squares of pixels."""

import torch
from torch import Tensor

from lightning_flows.data.datasets.batches import collate, in_batches
from lightning_flows.data.datasets.images import ImageDataset
from lightning_flows.data.datasets.samplers import TrainingItems
from lightning_flows.functional.philox import Streams, streams

CHUNK = 4096  # images that are averaged at once


def averaged(images: Tensor, size: int) -> Tensor:
    """Average squares of ``size`` x ``size`` pixels and round, one half up.

    Shapes: uint8 ``(N, C, H, W)``, H and W multiples of ``size``, to ``(N, C, H / size, W / size)``.

    >>> averaged(torch.tensor([[[[1, 2], [2, 1]]]], dtype=torch.uint8), 2)
    tensor([[[[2]]]], dtype=torch.uint8)
    """
    squares = images.unflatten(3, (-1, size)).unflatten(2, (-1, size))
    return ((squares.sum((3, 5), dtype=torch.int32) + size * size // 2) // (size * size)).to(torch.uint8)


def augmented(images: Tensor, shift: tuple[int, int], source: Streams) -> Tensor:
    """Flip each image with probability 1/2, then move it by up to ``shift`` pixels down or up, and left or right.

    All flips and moves are equally likely. Where an image moves away from its edge, the pixels of the edge repeat.

    Args:
        images: uint8 ``(B, C, H, W)``.
        shift: largest moves in pixels, vertical and horizontal.
        source: a stream for each image.
    """
    (_, _, height, width), uniform = images.shape, source.uniform((3,), torch.float32)
    down, right = ((uniform[:, i] * (2 * most + 1)).long() - most for i, most in enumerate(shift))
    rows = (torch.arange(height) + down[:, None]).clamp(0, height - 1)
    columns = (torch.arange(width) + right[:, None]).clamp(0, width - 1)
    columns = torch.where(uniform[:, 2:] < 0.5, columns, width - 1 - columns)
    batch, channel = torch.arange(len(images))[:, None, None, None], torch.arange(images.shape[1])[:, None, None]
    return images[batch, channel, rows[:, None, :, None], columns[:, None, None, :]]


class AugmentedImages(ImageDataset):
    """Images that training flips and shifts anew in each epoch, from (seed, epoch, image); then they are averaged.

    Read by index, they are averaged only.

    Args:
        source: images at their full resolution.
        shift: largest moves at full resolution, see :func:`augmented`; None for no augmentation.
        downsample: side of the squares of pixels that are averaged.
    """

    def __init__(self, source: ImageDataset, shift: tuple[int, int] | None, downsample: int = 1) -> None:
        images = source.images
        if downsample > 1:
            images = torch.cat([averaged(part, downsample) for part in images.split(CHUNK)])
        super().__init__(images, source.labels, names=source.names)
        self.source, self.shift, self.downsample = source, shift, downsample

    def batch(self, indices: Tensor) -> dict[str, Tensor]:
        items = self.source.batch(indices) if in_batches(self.source) else [self.source[i] for i in indices.tolist()]
        return self._averaged(collate(items))

    def training_batch(self, numbers: Tensor, seed: int) -> dict[str, Tensor]:
        batch = collate(TrainingItems(self.source, seed=seed).__getitems__(numbers.tolist()))
        if self.shift is not None:
            batch["image"] = augmented(batch["image"], self.shift, streams(seed, "flips and shifts", numbers))
        return self._averaged(batch)

    def _averaged(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return batch | {"image": averaged(batch["image"], self.downsample)} if self.downsample > 1 else batch
