"""Read the images of a folder or archive, of any size, into one tensor."""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import torch

from lightning_flows.data.datasets.archives import TarSource, ZipSource
from lightning_flows.data.datasets.decoding import MAX_SIDE, center_crop, decode, reason
from lightning_flows.data.datasets.fingerprints import of_files
from lightning_flows.data.datasets.images import ImageDataset
from lightning_flows.data.datasets.layouts import find_layout, split_of
from lightning_flows.data.datasets.memory import empty_images
from lightning_flows.data.datasets.sources import EXPECTED, SUFFIXES, FolderSource, ImageSource, is_image, printable
from lightning_flows.errors import DataError, UsageError
from lightning_flows.functional.ranks import rank
from lightning_flows.progress import progress


class FileInfo(NamedTuple):
    """(width, height) of an image file, and whether it was transparent."""

    size: tuple[int, int]
    transparent: bool


class ImageFiles:
    """The image files of a folder or archive: listed immediately, read on demand, names sorted.

    For layouts see :func:`~lightning_flows.data.datasets.layouts.find_layout`. With splits, files outside of them are
    skipped, as are links to files that are already included. Nothing is written to disk.

    Args:
        root: a folder, a tar archive (compressed or not) or a zip archive.
        skip_broken: skip files that are not readable images, instead of raising an error.

    Attributes:
        root: printable form of the root.
        splits: names of the images in each split; a single key ``""`` if there are no splits.
        classes: sorted class names; an image outside of class folders has the class ``""``.
        left_out: description of the skipped files, if any.
        fingerprint: text that differs if the names or sizes of the images do.
        broken: reasons why files could not be read or decoded, by name.

    Raises: DataError if root is missing, is neither folder nor archive, cannot be read, contains no images, or has a
    folder that may or may not be a split.

    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> with TemporaryDirectory() as folder:
    ...     for name in ("b.png", "a.jpg"):
    ...         Image.new("RGB", (8, 6)).save(f"{folder}/{name}")
    ...     ImageFiles(folder).splits
    {'': ['a.jpg', 'b.png']}
    """

    def __init__(self, root: str | Path, *, skip_broken: bool = False) -> None:
        self.skip_broken, self._source = skip_broken, open_source(root)
        self.root = printable(self._source.root)
        for link in map(PurePosixPath, self._source.links):
            if split_of(link.name) or (is_image(link) and any(map(split_of, link.parts))):
                raise DataError(
                    f"{self.root} has a link {printable(link)!r}, which is not followed: put the images themselves "
                    "there (for an archive, with tar --dereference --hard-dereference)"
                )
        try:
            layout = find_layout({name: PurePosixPath(name).parts for name in self._source.names})
        except DataError as error:
            raise DataError(f"{self.root}: {error}") from None
        self.splits = {split: self._once(names) for split, names in layout.splits.items()}
        self._class_of, self.classes = layout.class_of, sorted(set(layout.class_of.values()))
        self.left_out = self._describe_left_out(layout.outside)
        self.fingerprint = of_files(self._source.sizes)
        self.broken: dict[str, str] = {}
        self._digests: dict[str, bytes] = {}

    def digests(self, names: Sequence[str]) -> dict[str, bytes]:
        """Return a 16-byte digest of the content of each file; those that cannot be read are added to ``broken``."""
        for name, content in self._contents([n for n in names if n not in self._digests and n not in self.broken]):
            self._digests[name] = _digest(content)
        return {name: self._digests[name] for name in names if name in self._digests}

    def read(
        self,
        names: Sequence[str],
        *,
        size: int | tuple[int, int] = 32,
        channels: int = 3,
        check: Sequence[str] = (),
    ) -> tuple[ImageDataset, list[FileInfo]]:
        """Decode images: crop the center, resize it (bicubic, antialiased), convert to RGB or grayscale.

        Files in ``check`` are decoded as well, but only to find broken ones.

        Shapes: images uint8 ``(N, channels, H, W)``, in the order of ``names``.
        Raises: DataError naming all broken files unless they are skipped, or if the images exceed the free memory;
        UsageError for a size outside 1 to 65,535, or channels other than 1 or 3.
        """
        shape = image_shape(size, channels)
        images, infos = empty_images(len(names), shape), dict[str, FileInfo]()
        position = {name: i for i, name in enumerate(names)}
        for name, content in self._contents([*names, *check]):
            try:
                decoded = decode(content, size=shape[1:], channels=channels)
            except Exception as error:  # decoders may raise anything for a broken file
                self.broken[name] = f"is not a readable image ({printable(reason(error, content))})"
                continue
            self._digests[name] = _digest(content)
            if name in position:
                images[position[name]], infos[name] = decoded.image, FileInfo(decoded.size, decoded.transparent)
        if self.broken and not self.skip_broken:
            them = "it" if len(self.broken) == 1 else "them"
            raise DataError(f"{self.describe_broken()}: remove or replace {them}, or add --data.skip_broken=true")
        kept = [name for name in names if name in infos]
        for i, name in enumerate(kept) if len(kept) < len(names) else ():
            images[i] = images[position[name]]
        labels = torch.tensor([self.classes.index(self._class_of[name]) for name in kept], dtype=torch.long)
        return ImageDataset(images[: len(kept)], labels, names=kept), [infos[name] for name in kept]

    def describe_broken(self) -> str:
        """Name up to ten broken files, and count the others."""
        named = [f"{printable(self._source.root / name)} {self.broken[name]}" for name in sorted(self.broken)[:10]]
        if len(self.broken) == 1:
            return named[0]
        more = f", and {len(self.broken) - len(named)} more" if len(self.broken) > len(named) else ""
        return f"{len(self.broken)} files cannot be used: {', '.join(named)}{more}"

    def _contents(self, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Contents of files, and the progress if reading takes more than two seconds."""
        contents = self._source.read(names, self.broken) if names else iter(())
        desc, quiet = f"reading {printable(self._source.root.name)}", rank() != 0
        yield from progress(contents, desc=desc, unit=" images", total=len(names), delay=2, leave=False, quiet=quiet)

    def _once(self, names: Iterable[str]) -> list[str]:
        """Return the sorted names without links to other files among them."""
        real, first = self._source.real, dict[str, str]()
        for name in sorted(names, key=lambda name: (name in self._source.file_links, name)):
            first.setdefault(real.get(name, name), name)
        return sorted(first.values())

    def _describe_left_out(self, outside: Counter[str]) -> str:
        num_links = len(self._source.names) - sum(map(len, self.splits.values())) - outside.total()
        suffixes = _suffixes(self._source)
        kinds = {f"images in {folder}" if folder else "loose images": num for folder, num in outside.items()}
        kinds |= {"links to images": num_links} if num_links else {}
        described = [f"{printable(kind)}: {num}" for kind, num in [*kinds.items(), *suffixes.most_common(5)]]
        total = sum(kinds.values()) + suffixes.total()
        skipped = f"{total} file{'s' * (total > 1)} skipped ({', '.join(described)})" if total else ""
        return skipped + _hint(suffixes)


def _suffixes(source: ImageSource) -> Counter[str]:
    """Count the skipped entries of a source by suffix."""
    return Counter(PurePosixPath(name).suffix.lower() or "no suffix" for name in source.others)


def _hint(suffixes: Counter[str]) -> str:
    """What to do with skipped photographs, if there are any."""
    found = [suffix for suffix in (".heic", ".heif", ".avif") if suffix in suffixes]
    return f"; convert {' and '.join(found)} to JPEG to use them" if found else ""


def summary(infos: Sequence[FileInfo], size: tuple[int, int]) -> str:
    """Describe how images were converted to ``size``, (height, width).

    >>> summary([FileInfo((32, 32), False), FileInfo((64, 48), False)], (32, 32))
    'read 2 images of width 32 to 64 and height 32 to 48; 1 cropped, 1 resized to 32x32'
    """
    crops = [center_crop(info.size, size) for info in infos]
    num_cropped = sum(crop != (0, 0, *info.size) for crop, info in zip(crops, infos, strict=True))
    num_resized = sum((bottom - top, right - left) != size for left, top, right, bottom in crops)
    text, num_transparent = f"read {len(infos)} image{'s' * (len(infos) != 1)}", sum(info.transparent for info in infos)
    if num_cropped or num_resized:
        widths, heights = zip(*(info.size for info in infos), strict=True)
        text += f" of width {_range(widths)} and height {_range(heights)}"
        text += f"; {num_cropped} cropped, {num_resized} resized to {size[0]}x{size[1]}"
    return text + (f"; {num_transparent} with transparency, composited onto white" if num_transparent else "")


def _range(values: Sequence[int]) -> str:
    """Text of a range of values, such as ``32 to 64``."""
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"


def open_source(root: str | Path) -> ImageSource:
    """List the image files below ``root``: a folder, a tar archive (``.tar``, ``.tar.gz``, …) or a zip archive.

    Raises: DataError if root is missing, is neither a folder nor an archive, cannot be read, or contains no images.
    """
    path = Path(root)
    if not str(root):
        raise DataError(f"root is empty: {EXPECTED}, or . for the current folder")
    wanted = f"{EXPECTED}, as in --data.root=FOLDER"
    try:
        mode, is_zip = os.stat(path).st_mode, False
        if stat.S_ISREG(mode):
            with path.open("rb") as file:
                is_zip = file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{printable(path)} does not exist: {wanted}") from error
    except (OSError, ValueError) as error:  # such as a name that is too long, missing permissions, or NUL
        raise DataError(f"{printable(path)} cannot be opened ({error}): {wanted}") from error
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise DataError(f"{printable(path)} is neither a folder nor a regular file: {EXPECTED}")
    if stat.S_ISREG(mode) and is_image(PurePosixPath(path.name)):
        raise DataError(f"{printable(path)} is a single image: {EXPECTED}, such as the folder that contains it")
    source = FolderSource(path) if stat.S_ISDIR(mode) else ZipSource(path) if is_zip else TarSource(path)
    source.names.sort()
    if not source.names:
        suffixes = _suffixes(source)
        others = ", ".join(f"{printable(suffix)}: {num}" for suffix, num in suffixes.most_common(5))
        raise DataError(
            f"{printable(path)} contains no images ({others or 'it is empty'}): expected files ending in "
            f"{' '.join(SUFFIXES)}{_hint(suffixes)}"
        )
    return source


def image_shape(size: int | Sequence[int], channels: int) -> tuple[int, int, int]:
    """Return (channels, height, width) for a size in pixels: one number, or height and width.

    Raises: UsageError for a size outside 1 to 65,535, or channels other than 1 or 3.
    """
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2 or not all(1 <= side <= MAX_SIDE for side in sides):
        raise UsageError(f"expected size from 1 to {MAX_SIDE:,} pixels, or a list of height and width; got {size}")
    if channels not in (1, 3):
        raise UsageError(f"expected channels of 1 (grayscale) or 3 (RGB); got {channels}")
    return channels, *sides


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=16).digest()
