"""Lightning data modules: the values of ``--data`` on the command line."""

from lightning_flows.data.array_images import ArrayImageDataModule
from lightning_flows.data.base import FlowDataModule
from lightning_flows.data.caltech_silhouettes import CaltechSilhouettesDataModule
from lightning_flows.data.digits import DigitsDataModule
from lightning_flows.data.frey_faces import FreyFacesDataModule
from lightning_flows.data.graph_mog import GraphMoGDataModule
from lightning_flows.data.image_folder import ImageFolderDataModule
from lightning_flows.data.images import ImageDataModule
from lightning_flows.data.omniglot import OmniglotDataModule
from lightning_flows.data.published import CIFAR10DataModule, FashionMNISTDataModule, MNISTDataModule
from lightning_flows.data.sample_photos import SamplePhotosDataModule
from lightning_flows.data.static_mnist import StaticMNISTDataModule
from lightning_flows.data.table import TableDataModule
from lightning_flows.data.toys import ToyDataModule

__all__ = [
    "ArrayImageDataModule",
    "CIFAR10DataModule",
    "CaltechSilhouettesDataModule",
    "DigitsDataModule",
    "FashionMNISTDataModule",
    "FlowDataModule",
    "FreyFacesDataModule",
    "GraphMoGDataModule",
    "ImageDataModule",
    "ImageFolderDataModule",
    "MNISTDataModule",
    "OmniglotDataModule",
    "SamplePhotosDataModule",
    "StaticMNISTDataModule",
    "TableDataModule",
    "ToyDataModule",
]
