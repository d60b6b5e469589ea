"""Read the pictures of a folder or tar archive, of any size, into one tensor."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F
from tqdm import tqdm

from lightning_flows.datasets.images import ImageDataset
from lightning_flows.datasets.picture_sources import open_source
from lightning_flows.errors import DataError, ShapeError

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class PictureReport:
    """What was done to the pictures of one reading; sizes are (width, height) in pixels."""

    root: str
    size: int
    sizes: Sequence[tuple[int, int]]
    num_left_out: int = 0

    @property
    def num_resized(self) -> int:
        """Number of pictures whose shorter side was not ``size``."""
        return sum(min(size) != self.size for size in self.sizes)

    @property
    def num_cropped(self) -> int:
        """Number of pictures that were not square."""
        return sum(width != height for width, height in self.sizes)

    def __str__(self) -> str:
        """Return one line for a person.

        >>> print(PictureReport("cats.tar", 32, [(32, 32), (64, 48)], num_left_out=1))
        cats.tar: read 2 pictures, 1 resized, 1 cropped to 32x32 (widths 32 to 64, heights 32 to 48); 1 file left out
        """
        text = f"{self.root}: read {len(self.sizes)} pictures"
        if self.num_resized or self.num_cropped:
            widths, heights = zip(*self.sizes, strict=True)
            text += (
                f", {self.num_resized} resized, {self.num_cropped} cropped to {self.size}x{self.size}"
                f" (widths {min(widths)} to {max(widths)}, heights {min(heights)} to {max(heights)})"
            )
        if self.num_left_out:
            text += f"; {self.num_left_out} file{'s' * (self.num_left_out > 1)} left out"
        return text


class PictureFiles:
    """The picture files of a folder or tar archive, by class or flat: listed now, read on demand.

    Layouts: ``root/*.png``, ``root/CLASS/*.png``, ``root/PART/*.png`` or ``root/PART/CLASS/*.png``, where PART is
    train, val or test. A folder that wraps all of this, as tar archives often have, is looked through. With parts,
    whatever lies outside them is left out. Nothing is written to disk, and the order is that of the sorted names.

    Attributes:
        parts: names of the pictures in each part; a single key ``""`` when there are no parts.
        classes: sorted class names; a picture in no class folder is of class ``""``.

    Raises: DataError if root is missing, is neither folder nor tar, cannot be read or holds no pictures.
    """

    def __init__(self, root: str | Path) -> None:
        self._source = open_source(root)
        paths = {name: PurePosixPath(name).parts for name in self._source.names}
        skip = _num_wrappers(list(paths.values()))
        paths = {name: parts[skip:] for name, parts in paths.items()}

        self.parts: dict[str, list[str]] = {"": list(paths)}
        if in_parts := {name: parts for name, parts in paths.items() if len(parts) > 1 and parts[0] in PARTS}:
            self.parts = {
                part: [name for name, parts in in_parts.items() if parts[0] == part]
                for part in PARTS
                if any(parts[0] == part for parts in in_parts.values())
            }
            paths = {name: parts[1:] for name, parts in in_parts.items()}
        self._class_of = {name: parts[0] if len(parts) > 1 else "" for name, parts in paths.items()}
        self.classes = sorted(set(self._class_of.values()))
        self.num_left_out = self._source.num_others + len(self._source.names) - len(paths)

    def read(
        self, names: Sequence[str], *, size: int = 32, channels: int = 3, progress: bool = True
    ) -> tuple[ImageDataset, PictureReport]:
        """Decode pictures: resize the shorter side (bicubic, antialiased), crop the centre, convert to RGB or grey.

        Shapes: images uint8 ``(N, channels, size, size)``, in the order of ``names``.
        Raises: DataError naming a broken file; ShapeError for a size below 1 or channels other than 1 or 3.
        """
        check_format(size, channels)
        images = torch.empty(len(names), channels, size, size, dtype=torch.uint8)
        sizes = [(0, 0)] * len(names)
        position = {name: i for i, name in enumerate(names)}
        bar = tqdm(
            desc=f"Reading {self._source.root.name}",
            total=len(names),
            unit=" pictures",
            delay=2,  # seconds: a short reading needs no bar
            leave=False,
            disable=None if progress else True,  # None: only on a terminal
        )
        with bar:
            for name, content in self._source.read(names):
                try:
                    picture = _decode(content, mode="RGB" if channels == 3 else "L")
                except Exception as error:  # decoders raise whatever a broken file leads them to
                    reason = "unknown or damaged format" if isinstance(error, UnidentifiedImageError) else error
                    where = self._source.root / name
                    raise DataError(f"{where} is no readable picture ({reason}): remove or replace it") from error
                i = position[name]
                images[i], sizes[i] = _fit(picture, size), picture.size
                bar.update()
        labels = torch.tensor([self.classes.index(self._class_of[name]) for name in names], dtype=torch.long)
        report = PictureReport(str(self._source.root), size, sizes, self.num_left_out)
        return ImageDataset(images, labels, names=names), report


def check_format(size: int, channels: int) -> None:
    """Raise ShapeError unless pictures can be brought to this size in pixels and number of channels."""
    if size < 1:
        raise ShapeError(f"expected a size of at least 1 pixel; got {size}")
    if channels not in (1, 3):
        raise ShapeError(f"expected 1 channel (grey) or 3 (RGB); got {channels}")


def _num_wrappers(paths: list[tuple[str, ...]]) -> int:
    """Return how many leading folders only wrap the layout: shared by all, no part, with a folder below.

    >>> _num_wrappers([("pets", "cat", "1.png"), ("pets", "dog", "1.png")])
    1
    >>> _num_wrappers([("train", "cat", "1.png"), ("train", "dog", "1.png")])
    0
    """
    skip = 0
    while min(map(len, paths)) >= skip + 3 and len({path[skip] for path in paths}) == 1 and paths[0][skip] not in PARTS:
        skip += 1
    return skip


def _decode(content: bytes, mode: str) -> Image.Image:
    """Return the picture upright, in mode RGB or L; 16 bits a sample are scaled to 8."""
    with Image.open(BytesIO(content)) as file:
        picture = ImageOps.exif_transpose(file)
    if picture.mode.startswith("I"):
        picture = Image.fromarray((np.asarray(picture) / 257).round().clip(0, 255).astype(np.uint8))
    return picture.convert(mode)


def _fit(picture: Image.Image, size: int) -> Tensor:
    """Return the picture as uint8 ``(C, size, size)``."""
    if picture.size != (size, size):
        picture = F.resize(picture, [size], interpolation=InterpolationMode.BICUBIC)
        picture = F.center_crop(picture, [size, size])
    return F.pil_to_tensor(picture)
