"""Read the images of a folder or tar archive, of any size, into one tensor."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path, PurePosixPath

import torch
from tqdm import tqdm

from lightning_flows.data.datasets.decoding import decode, reason
from lightning_flows.data.datasets.image_sources import REPLACE, is_image, open_source, printable
from lightning_flows.data.datasets.images import ImageDataset
from lightning_flows.data.datasets.layouts import find_layout, split_of
from lightning_flows.data.datasets.memory import empty_images
from lightning_flows.errors import DataError, ShapeError


@dataclass(frozen=True)
class ImageReport:
    """What was done to the images of one reading; sizes are (width, height) in pixels."""

    root: str
    size: int
    sizes: Sequence[tuple[int, int]]
    num_left_out: int = 0
    left_out: str = ""
    transparent: Sequence[bool] = ()

    @property
    def num_resized(self) -> int:
        """Number of images whose shorter side was not ``size``."""
        return sum(min(size) != self.size for size in self.sizes)

    @property
    def num_cropped(self) -> int:
        """Number of images that were not square."""
        return sum(width != height for width, height in self.sizes)

    def __str__(self) -> str:
        """Return one line for a person.

        >>> print(ImageReport("cats.tar", 32, [(32, 32), (64, 48)], num_left_out=1))
        cats.tar: read 2 images, 1 resized, 1 cropped to 32x32 (widths 32 to 64, heights 32 to 48); 1 file left out
        """
        text = f"{self.root}: read {len(self.sizes)} images"
        if self.num_resized or self.num_cropped:
            widths, heights = zip(*self.sizes, strict=True)
            text += (
                f", {self.num_resized} resized, {self.num_cropped} cropped to {self.size}x{self.size}"
                f" (widths {min(widths)} to {max(widths)}, heights {min(heights)} to {max(heights)})"
            )
        if any(self.transparent):
            text += f", {sum(self.transparent)} with transparency laid on white"
        if self.num_left_out:
            text += f"; {self.num_left_out} file{'s' * (self.num_left_out > 1)} left out"
            text += f" ({self.left_out})" if self.left_out else ""
        return text

    def among(self, chosen: slice) -> "ImageReport":
        """Return the report for a slice of the images."""
        return replace(self, sizes=self.sizes[chosen], transparent=self.transparent[chosen])


class ImageFiles:
    """The image files of a folder or tar archive, flat or by class: listed immediately, read on demand.

    Layouts: ``root/*.png``, ``root/CLASS/*.png``, ``root/PART/*.png``, ``root/PART/CLASS/*.png`` or
    ``root/CLASS/PART/*.png``, where PART is train, val, test or a synonym in any case; see
    :mod:`lightning_flows.data.datasets.layouts`.
    Wrapping folders, as tar archives often have, are skipped. With splits,
    files outside of them are left out, and so are links to files that are already included. Nothing is written to disk,
    and names are sorted.

    Attributes:
        parts: names of the images in each split; a single key ``""`` if there are no splits.
        classes: sorted class names; an image outside of class folders has the class ``""``.
        num_left_out: number of files that are not read; ``left_out`` describes them.

    Raises: DataError if root is missing, is neither folder nor tar, cannot be read, holds no images, or has a folder
    that may or may not be a split.
    """

    def __init__(self, root: str | Path) -> None:
        self._source = open_source(root)
        for link in map(PurePosixPath, self._source.links):
            if split_of(link.name) or (is_image(link) and any(map(split_of, link.parts))):
                raise DataError(
                    f"{printable(self._source.root)} has a link {printable(link)!r}, which is not followed: put the "
                    "images themselves there (by tar --dereference --hard-dereference, if it is an archive)"
                )
        try:
            layout = find_layout({name: PurePosixPath(name).parts for name in self._source.names})
        except DataError as error:
            raise DataError(f"{printable(self._source.root)}: {error}") from None
        self.parts = {part: self._once(names) for part, names in layout.parts.items()}
        self._class_of = layout.class_of
        self.classes = sorted(set(self._class_of.values()))
        num_outside, num_read = layout.outside.total(), sum(map(len, self.parts.values()))
        self.num_left_out = self._source.num_others + len(self._source.names) - num_read
        suffixes = Counter(PurePosixPath(name).suffix.lower() or "no suffix" for name in self._source.others)
        left_out = {f"images in {folder}" if folder else "loose images": n for folder, n in layout.outside.items()}
        left_out["links to images"] = len(self._source.names) - num_read - num_outside
        self.left_out = ", ".join(
            f"{printable(what)}: {num}" for what, num in [*left_out.items(), *suffixes.most_common(5)] if num
        )
        self._digests: dict[str, bytes] = {}

    def digests(self, names: Sequence[str], *, progress: bool = True) -> list[bytes]:
        """Return a 16-byte digest of the content of each file. Raises: DataError naming broken files."""
        missing, broken = [name for name in names if name not in self._digests], dict[str, str]()
        for name, content in self._contents(missing, broken, progress=progress):
            self._digests[name] = _digest(content)
        self._refuse(broken)
        return [self._digests[name] for name in names]

    def read(
        self,
        names: Sequence[str],
        *,
        size: int = 32,
        channels: int = 3,
        progress: bool = True,
        check: Sequence[str] = (),
    ) -> tuple[ImageDataset, ImageReport]:
        """Decode images: crop the central square, resize it (bicubic, antialiased), convert to RGB or grayscale.

        Files in ``check`` are decoded as well, but only to find broken ones.

        Shapes: images uint8 ``(N, channels, size, size)``, in the order of ``names``.
        Raises: DataError naming all broken files, or if the images exceed free memory; ShapeError for a size below 1
        or channels other than 1 or 3.
        """
        check_format(size, channels)
        images = empty_images(len(names), channels, size)
        sizes, transparent, broken = [(0, 0)] * len(names), [False] * len(names), dict[str, str]()
        position = {name: i for i, name in enumerate(names)}
        for name, content in self._contents([*names, *check], broken, progress=progress):
            try:
                decoded = decode(content, size=size, channels=channels)
            except Exception as error:  # decoders may raise anything for a broken file
                broken[name] = f"is no readable image ({printable(reason(error))})"
                continue
            self._digests[name] = _digest(content)
            if (i := position.get(name)) is not None:
                images[i], sizes[i], transparent[i] = decoded.image, decoded.size, decoded.transparent
        self._refuse(broken)
        labels = torch.tensor([self.classes.index(self._class_of[name]) for name in names], dtype=torch.long)
        root = printable(self._source.root)
        report = ImageReport(root, size, sizes, self.num_left_out, self.left_out, transparent)
        return ImageDataset(images, labels, names=names), report

    def _contents(self, names: Sequence[str], broken: dict[str, str], *, progress: bool) -> Iterator[tuple[str, bytes]]:
        bar = tqdm(
            desc=f"Reading {printable(self._source.root.name)}",
            total=len(names),
            unit=" images",
            delay=2,  # seconds: a short reading needs no bar
            leave=False,
            disable=None if progress else True,  # None: only on a terminal
        )
        with bar:
            for item in self._source.read(names, broken) if names else ():
                yield item
                bar.update()

    def _once(self, names: Iterable[str]) -> list[str]:
        """Return the sorted names without links to other files among them."""
        real = self._source.real
        first: dict[str, str] = {}
        for name in sorted(names, key=lambda name: (name in self._source.file_links, name)):
            first.setdefault(real.get(name, name), name)
        return sorted(first.values())

    def _refuse(self, broken: dict[str, str]) -> None:
        """Raise DataError, naming the broken files in one line, if there are any."""
        if not broken:
            return
        named = [f"{printable(self._source.root / name)} {broken[name]}" for name in sorted(broken)[:10]]
        if len(named) > 1:
            more = f", and {len(broken) - len(named)} more" if len(broken) > len(named) else ""
            raise DataError(f"{len(broken)} files cannot be used: {', '.join(named)}{more}: remove or replace them")
        raise DataError(f"{named[0]}: {REPLACE}")


def check_format(size: int, channels: int) -> None:
    """Raise ShapeError unless images can be brought to this size in pixels and number of channels."""
    if not 1 <= size <= 65_535:
        raise ShapeError(f"expected a size from 1 to 65,535 pixels; got {size}")
    if channels not in (1, 3):
        raise ShapeError(f"expected 1 channel (grey) or 3 (RGB); got {channels}")


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=16).digest()
