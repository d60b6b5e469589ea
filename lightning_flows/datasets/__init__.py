"""Plain datasets of uint8 images and of graphs, independent of Lightning."""

from lightning_flows.datasets.compression import png_bits_per_dim, webp_bits_per_dim
from lightning_flows.datasets.images import ImageDataset
from lightning_flows.datasets.outliers import constant_pictures, noise_pictures, pictures_as
from lightning_flows.datasets.picture_files import PictureFiles, PictureReport
from lightning_flows.datasets.sample_photos import sample_photo, sample_photo_crops

__all__ = [
    "ImageDataset",
    "PictureFiles",
    "PictureReport",
    "constant_pictures",
    "noise_pictures",
    "pictures_as",
    "png_bits_per_dim",
    "sample_photo",
    "sample_photo_crops",
    "webp_bits_per_dim",
]
