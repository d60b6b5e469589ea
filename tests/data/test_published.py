"""Datasets with published splits."""

from pathlib import Path

import pytest

from lightning_flows.data import CIFAR10DataModule, FashionMNISTDataModule, MNISTDataModule
from lightning_flows.errors import DataError

SHAPES = {CIFAR10DataModule: (3, 32, 32), FashionMNISTDataModule: (1, 32, 32), MNISTDataModule: (1, 28, 28)}
REMEDIES = {
    CIFAR10DataModule: r"put cifar-10-python\.tar\.gz into .*nowhere, ",
    **{
        kind: r"decompress train-images-idx3-ubyte\.gz, .* into .*/"
        + folder
        + "/raw and remove any damaged file there, "
        for kind, folder in ((FashionMNISTDataModule, "FashionMNIST"), (MNISTDataModule, "nowhere/MNIST"))
    },
}


@pytest.mark.parametrize("kind", SHAPES)
def test_published_split(kind: type) -> None:
    assert kind.num_val == 10_000
    assert kind().event_shape == SHAPES[kind]


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("kind", REMEDIES)
def test_missing(kind: type, tmp_path: Path) -> None:
    message = (
        rf"{kind.__name__.removesuffix('DataModule')} in .*nowhere is missing or damaged and cannot be downloaded "
        rf"\(<urlopen error no route to host>\): {REMEDIES[kind]}or use your own images: "
        r"--data ImageFolderDataModule --data\.root=FOLDER$"
    )
    with pytest.raises(DataError, match=message) as caught:
        kind(str(tmp_path / "nowhere")).prepare_data()
    assert "\n" not in str(caught.value)
