"""Lightning data modules: the values of ``--data`` on the command line."""

from lightning_flows.datamodules.base import FlowDataModule
from lightning_flows.datamodules.cifar10 import CIFAR10
from lightning_flows.datamodules.fashion_mnist import FashionMNIST
from lightning_flows.datamodules.graph_mog import GraphMoGDataModule
from lightning_flows.datamodules.image_folder import ImageFolder
from lightning_flows.datamodules.pictures import PictureDataModule
from lightning_flows.datamodules.sample_photos import SamplePhotos

__all__ = [
    "CIFAR10",
    "FashionMNIST",
    "FlowDataModule",
    "GraphMoGDataModule",
    "ImageFolder",
    "PictureDataModule",
    "SamplePhotos",
]
