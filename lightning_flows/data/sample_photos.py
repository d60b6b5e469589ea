"""Real photographs without a download."""

from typing import Any

from lightning_flows.data.datasets import ImageDataset, sample_photo_crops
from lightning_flows.data.images import ImageDataModule
from lightning_flows.errors import ShapeError


class SamplePhotosDataModule(ImageDataModule):
    """32x32 RGB crops of scikit-learn's two sample photographs; no pixel is in two parts.

    Args:
        stride: pixels between neighboring training crops.
        augment: flip training crops at random and shift them; off, as overlapping crops already are shifted.
        kwargs: other arguments of :class:`ImageDataModule`.

    Raises: ShapeError if the stride is below 1.
    """

    def __init__(self, *, stride: int = 4, augment: bool = False, **kwargs: Any) -> None:
        super().__init__(augment=augment, **kwargs)
        if stride < 1:
            raise ShapeError(f"expected a stride of at least 1 pixel; got {stride}")

    @property
    def event_shape(self) -> tuple[int, int, int]:
        """(3, 32, 32)."""
        return 3, 32, 32

    def load_part(self, part: str) -> ImageDataset:
        """Cut the crops of one part."""
        return sample_photo_crops(part, stride=self.hparams["stride"])
