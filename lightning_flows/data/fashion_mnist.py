"""Fashion-MNIST, padded to 32 x 32."""

from torchvision import datasets

from lightning_flows.data.published import PublishedDataModule


class FashionMNISTDataModule(PublishedDataModule):
    """Fashion-MNIST, 28x28 gray padded with zeros to 32x32: 50,000 train, the last 10,000 validate, 10,000 test.

    Args:
        root: folder that holds or gets ``FashionMNIST/raw/*-ubyte.gz``; they are downloaded if they are missing.
        kwargs: arguments of :class:`ImageDataModule`.
    """

    source = datasets.FashionMNIST
    image_size = (28, 28)
    archives = (
        "train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz and "
        "t10k-labels-idx1-ubyte.gz into {root}/FashionMNIST/raw and remove any damaged file there"
    )

    @property
    def event_shape(self) -> tuple[int, int, int]:
        """(1, 32, 32)."""
        return 1, 32, 32
