"""Plain datasets of images and graphs, independent of Lightning."""

from lightning_flows.data.datasets.compression import png_bits_per_dim, webp_bits_per_dim
from lightning_flows.data.datasets.image_files import ImageFiles
from lightning_flows.data.datasets.images import ImageDataset
from lightning_flows.data.datasets.outliers import constant_images, images_as, noise_images
from lightning_flows.data.datasets.sample_photos import sample_photo, sample_photo_crops

__all__ = [
    "ImageDataset",
    "ImageFiles",
    "constant_images",
    "images_as",
    "noise_images",
    "png_bits_per_dim",
    "sample_photo",
    "sample_photo_crops",
    "webp_bits_per_dim",
]
