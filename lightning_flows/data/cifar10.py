"""CIFAR-10 with the authors' split."""

from torchvision import datasets

from lightning_flows.data.published import PublishedDataModule


class CIFAR10DataModule(PublishedDataModule):
    """CIFAR-10, 32x32 RGB: the first 40,000 training images train, the last 10,000 validate, 10,000 test.

    Args:
        root: folder that holds or gets ``cifar-10-python.tar.gz``; it is downloaded if it is missing.
        kwargs: arguments of :class:`ImageDataModule`.
    """

    source = datasets.CIFAR10
    archives = "cifar-10-python.tar.gz into {root}"

    @property
    def event_shape(self) -> tuple[int, int, int]:
        """(3, 32, 32)."""
        return 3, 32, 32
