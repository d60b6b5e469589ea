"""Real photographs without a download."""

from typing import Any

from lightning_flows.data.datasets.images import ImageDataset
from lightning_flows.data.datasets.sample_photos import sample_photo_crops
from lightning_flows.data.images import ImageDataModule
from lightning_flows.errors import check_sizes


class SamplePhotosDataModule(ImageDataModule):
    """32x32 RGB crops of scikit-learn's two sample photographs; no pixel is in two splits.

    Args:
        stride: pixels between neighboring training crops.
        augment: flip training crops at random and shift them; off by default, because overlapping crops are already
            shifted.
        kwargs: other arguments of :class:`ImageDataModule`.

    Shapes: images uint8 ``(B, 3, 32, 32)``.
    Raises: UsageError if the stride is below 1.

    >>> data = SamplePhotosDataModule(stride=16, batch_size=8)
    >>> data.setup("fit")
    >>> data.num_items("train"), data.num_items("val"), next(iter(data.train_dataloader()))["image"].shape
    (1200, 52, torch.Size([8, 3, 32, 32]))
    """

    def __init__(self, *, stride: int = 4, augment: bool = False, **kwargs: Any) -> None:
        super().__init__(augment=augment, **kwargs)
        check_sizes(stride=stride)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return 3, 32, 32

    def load_split(self, split: str) -> ImageDataset:
        return sample_photo_crops(split, stride=self.hparams["stride"])
