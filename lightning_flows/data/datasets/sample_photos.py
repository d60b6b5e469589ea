"""Crops of scikit-learn's two sample photographs: real images without a download."""

from itertools import groupby
from pathlib import PureWindowsPath

import torch
from sklearn.datasets import load_sample_images
from torch import Tensor

from lightning_flows.data.datasets.images import ImageDataset
from lightning_flows.errors import UsageError, check_sizes

CROP = 32  # pixels, height and width of a crop
BAND = 64  # pixels; ten such bands make the width of a photograph
BANDS = ("train", "train", "test", "train", "train", "val", "train", "test", "train", "train")


def sample_photo_crops(split: str, *, stride: int = 4) -> ImageDataset:
    """Return the 32x32 RGB crops of train, val or test.

    The width of each photograph (427 x 640 pixels) is cut into ten vertical bands: bands 2 and 7 test, band 5
    validates, the others train. A crop is entirely within neighboring bands of its split, so no pixel is in two splits.
    Validation and test crops do not overlap; training crops start at every ``stride`` pixels. The label is the
    photograph, and the name its file and the top left corner of the crop.

    Shapes: images uint8 ``(N, 3, 32, 32)``; N is 16632 (stride 4), 52 and 104.
    Raises: UsageError if the split is unknown or the stride is below 1.

    >>> crops = sample_photo_crops("val")
    >>> len(crops), crops.names[1]
    (52, 'china.jpg y=0 x=352')
    """
    if split not in BANDS:
        raise UsageError(f"expected split train, val or test; got {split!r}")
    check_sizes(stride=stride)
    step = stride if split == "train" else CROP
    images, labels, names = [], [], []
    for label, (file, photo) in enumerate(_photos().items()):
        for start, stop in _runs(split):
            crops = photo[:, :, start:stop].unfold(1, CROP, step).unfold(2, CROP, step)  # (3, rows, columns, 32, 32)
            _, rows, columns, _, _ = crops.shape
            images.append(crops.permute(1, 2, 0, 3, 4).reshape(-1, 3, CROP, CROP))
            labels.append(torch.full((rows * columns,), label))
            names += [f"{file} y={step * row} x={start + step * col}" for row in range(rows) for col in range(columns)]
    return ImageDataset(torch.cat(images), torch.cat(labels), names=names)


def sample_photo(name: str = "china.jpg") -> Tensor:
    """Return a whole photograph, uint8 ``(3, 427, 640)``. Raises: UsageError for an unknown name.

    >>> sample_photo("flower.jpg").shape
    torch.Size([3, 427, 640])
    """
    photos = _photos()
    if name not in photos:
        raise UsageError(f"expected one of the photographs {', '.join(photos)}; got {name!r}")
    return photos[name]


def _photos() -> dict[str, Tensor]:
    """Return file name → photograph, uint8 ``(3, 427, 640)``."""
    bunch = load_sample_images()
    names = [PureWindowsPath(file).name for file in bunch.filenames]  # accepts both kinds of slashes
    return {name: torch.tensor(image).permute(2, 0, 1) for name, image in zip(names, bunch.images, strict=True)}


def _runs(split: str) -> list[tuple[int, int]]:
    """Return the (start, stop) columns of each run of neighboring bands of a split, in pixels.

    >>> _runs("train")
    [(0, 128), (192, 320), (384, 448), (512, 640)]
    """
    runs = [list(run) for _, run in groupby(range(len(BANDS)), key=lambda band: BANDS[band])]
    return [(BAND * run[0], BAND * (run[-1] + 1)) for run in runs if BANDS[run[0]] == split]
