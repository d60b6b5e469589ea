"""Images in memory, with labels and names."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lightning_flows.data.datasets.batches import BatchDataset, augmenting
from lightning_flows.errors import InputTypeError, ShapeError


class ImageDataset(BatchDataset):
    """Images held in memory as one uint8 tensor.

    An item is ``{"image": uint8 (C, H, W), "label": int64 (), "index": int64 ()}``; ``names[index]`` names it.

    Args:
        images: uint8, ``(N, C, H, W)``, values 0 to 255.
        labels: integers, ``(N,)``; default: zeros.
        names: N names, for example relative paths; default: numbers.
        transform: transform of uint8 images, applied on access, such as a torchvision v2 transform.

    Raises: TypeError if the images are not uint8; ShapeError if the shapes or lengths do not match.

    >>> images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    >>> dataset = ImageDataset(images, torch.tensor([4, 5]), names=["a.png", "b.png"])
    >>> len(dataset), dataset[1]["image"].shape, dataset[1]["label"].item(), dataset.names[1]
    (2, torch.Size([3, 8, 8]), 5, 'b.png')
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor | None = None,
        *,
        names: Sequence[str] | None = None,
        transform: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        if images.dtype != torch.uint8:
            raise InputTypeError(f"expected uint8 images; got {images.dtype}")
        if images.ndim != 4:
            raise ShapeError(f"expected images of shape (N, C, H, W); got {tuple(images.shape)}")
        self.images = images
        self.labels = torch.zeros(len(images), dtype=torch.long) if labels is None else labels.long()
        self.names = list(map(str, range(len(images)))) if names is None else list(names)
        if self.labels.shape != images.shape[:1] or len(self.names) != len(images):
            raise ShapeError(
                f"expected a label and a name for each of {len(images)} images; "
                f"got labels of shape {tuple(self.labels.shape)} and {len(self.names)} names"
            )
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Tensor) -> dict[str, Tensor]:
        images = self.images[indices]
        if self.transform is not None:
            images = torch.stack([self.transform(image) for image in images])
        return {"image": images, "label": self.labels[indices], "index": indices}

    def training_batch(self, numbers: Tensor, seed: int) -> dict[str, Tensor]:
        """Training items; the transform draws from torch's global generator, whose state is restored."""
        indices = numbers % len(self)
        if self.transform is None:
            return self.batch(indices)
        batches = []
        for k, index in zip(numbers.tolist(), indices.split(1), strict=True):
            with augmenting(seed, k):
                batches.append(self.batch(index))
        return {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}
