"""Lightning data modules: the values of ``--data`` on the command line."""

from lightning_flows.data.base import FlowDataModule
from lightning_flows.data.frey_faces import FreyFacesDataModule
from lightning_flows.data.graph_mog import GraphMoGDataModule
from lightning_flows.data.image_folder import ImageFolderDataModule
from lightning_flows.data.images import ImageDataModule
from lightning_flows.data.published import CIFAR10DataModule, FashionMNISTDataModule, MNISTDataModule
from lightning_flows.data.sample_photos import SamplePhotosDataModule
from lightning_flows.data.table import TableDataModule
from lightning_flows.data.toys import ToyDataModule

__all__ = [
    "CIFAR10DataModule",
    "FashionMNISTDataModule",
    "FlowDataModule",
    "FreyFacesDataModule",
    "GraphMoGDataModule",
    "ImageDataModule",
    "ImageFolderDataModule",
    "MNISTDataModule",
    "SamplePhotosDataModule",
    "TableDataModule",
    "ToyDataModule",
]
