"""Image files in a folder, tar or zip archive: listed and read without writing anything to disk."""

import bz2
import gzip
import lzma
import os
import stat
import tarfile
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path, PurePosixPath
from typing import IO, Any

from lightning_flows.errors import DataError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

MAX_FILE_BYTES = 2**29
"""Largest image file that is read, and largest header of an archive: 512 MiB."""

MAX_EXPANSION, FREE_EXPANSION = 100, 2**28
"""A compressed archive may expand to 100 times its size, or to 256 MiB if that is more."""

_EXPECTED = "expected a folder, a .tar or a .zip of images"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_COMPRESSIONS: dict[bytes, Any] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
    b"\x5d\x00\x00": lzma.open,
}


class ImageSource(ABC):
    """Sorted names of image files, and access to their content.

    Attributes:
        root: the folder or archive.
        names: relative names of the image files, sorted.
        others: names of entries that are left out: other files, links in archives, folders reached again by a link.
        links: the links among ``others``.
        real: resolved paths of the images in a folder; ``file_links`` are the names that are links.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names: list[str] = []
        self.others: list[str] = []
        self.links: list[str] = []
        self.real: dict[str, str] = {}
        self.file_links: set[str] = set()

    @abstractmethod
    def read(self, names: Iterable[str], broken: dict[str, str]) -> Iterator[tuple[str, bytes]]:
        """Yield (name, content) for ``names``, in the order that reads fastest.

        Files that cannot be read are skipped, and the reasons stored in ``broken`` by name.
        Raises: DataError if an archive is damaged.
        """


def open_source(root: str | Path) -> ImageSource:
    """List the image files below ``root``: a folder, a tar archive (``.tar``, ``.tar.gz``, …) or a zip archive.

    Raises: DataError if root is missing, is neither a folder nor an archive, cannot be read, or contains no images.
    """
    path = Path(root)
    if not str(root):
        raise DataError(f"root is empty: {_EXPECTED}, or . for the current folder")
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{printable(path)} does not exist: {_EXPECTED}; correct root") from error
    except (OSError, ValueError) as error:  # such as a name that is too long, a folder without permission, or NUL
        raise DataError(f"{printable(path)} cannot be opened ({error}): correct root") from error
    if stat.S_ISDIR(mode):
        source: ImageSource = FolderSource(path)
    elif stat.S_ISREG(mode):
        source = ZipSource(path) if _start(path).startswith(_ZIP) else TarSource(path)
    else:
        raise DataError(f"{printable(path)} is neither a folder nor a regular file: {_EXPECTED}")
    source.names.sort()
    if not source.names:
        found = f"found {len(source.others)} other files" if source.others else "it is empty"
        raise DataError(
            f"{printable(path)} contains no images ({found}): expected files ending in {' '.join(SUFFIXES)}"
        )
    return source


def is_image(path: PurePosixPath) -> bool:
    """Return whether a relative path names an image: a known suffix, not hidden, and inside the root.

    >>> [is_image(PurePosixPath(name)) for name in ("cat/1.JPG", "notes.txt", ".cache/1.jpg", "../1.jpg", "/1.jpg")]
    [True, False, False, False, False]
    """
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in SUFFIXES and not hidden and not path.is_absolute()


def printable(name: object) -> str:
    """Return a name on one line, with control characters and undecodable bytes escaped.

    >>> printable("a.png"), printable("a" + chr(10) + "b.png")
    ('a.png', 'a\\\\nb.png')
    """
    text = str(name)
    return text if text.isprintable() else ascii(text)[1:-1]


class FolderSource(ImageSource):
    """The image files of a folder and its subfolders; links are followed, but each folder is listed once."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        folders, linked, seen = [str(root)], list[str](), set[str]()
        here = os.path.join(os.path.realpath(root), "")
        while folders or linked:  # links last, as their targets may be in the folder itself
            folder = folders.pop() if folders else linked.pop(0)
            real = os.path.realpath(folder)
            if real in seen or (seen and here.startswith(os.path.join(real, ""))):  # already listed, or a cycle
                self.others.append(os.path.relpath(folder, root))
                self.links.append(self.others[-1])
                continue
            seen.add(real)
            for entry in self._entries(folder):
                if os.path.isdir(entry.path):
                    (linked if entry.is_symlink() else folders).append(entry.path)
                else:
                    self._add(entry, real)

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            reason = f"cannot be listed ({error.strerror}): change its permissions or root"
            raise DataError(f"{printable(folder)} {reason}") from error

    def _add(self, entry: os.DirEntry[str], folder: str) -> None:
        name = Path(entry.path).relative_to(self.root).as_posix()
        if not is_image(PurePosixPath(name)):
            self.others.append(name)
            return
        self.names.append(name)
        self.real[name] = os.path.join(folder, entry.name)
        if entry.is_symlink():
            self.real[name] = os.path.realpath(entry.path)
            self.file_links.add(name)

    def read(self, names: Iterable[str], broken: dict[str, str]) -> Iterator[tuple[str, bytes]]:
        for name in names:
            path = self.root / name
            try:
                if not path.is_file():
                    broken[name] = "is not a regular file, or a link to nothing"
                elif (size := path.stat().st_size) > MAX_FILE_BYTES:
                    broken[name] = _too_large(size)
                else:
                    yield name, path.read_bytes()
            except OSError as error:
                broken[name] = f"cannot be read ({error.strerror})"


class TarSource(ImageSource):
    """The image files of a tar archive. Links, devices and paths that lead out of it are left out."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._members: dict[str, tarfile.TarInfo] = {}
        with _intact(root, "tar"), _open_tar(root) as (tar, file):
            for member in tar:
                path = PurePosixPath(member.name)
                if member.isfile() and is_image(path):
                    self._members[path.as_posix()] = member  # a later member replaces an earlier one of the same name
                elif not member.isdir():
                    self.others.append(path.as_posix())
                    if member.issym() or member.islnk():
                        self.links.append(path.as_posix())
            while file.limit is not None and file.read(1 << 20):
                pass  # the end of a compressed archive verifies its checksum
        self.names = list(self._members)

    def read(self, names: Iterable[str], broken: dict[str, str]) -> Iterator[tuple[str, bytes]]:
        with _intact(self.root, "tar"), _open_tar(self.root) as (tar, _):
            for name in sorted(names, key=lambda name: self._members[name].offset_data):
                if (size := self._members[name].size) > MAX_FILE_BYTES:
                    broken[name] = _too_large(size)
                elif file := tar.extractfile(self._members[name]):
                    yield name, file.read()


class ZipSource(ImageSource):
    """The image files of a zip archive. Links and paths that lead out of it are left out."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._members: dict[str, zipfile.ZipInfo] = {}
        with _intact(root, "zip"), zipfile.ZipFile(root) as archive:
            for member in archive.infolist():
                path = PurePosixPath(member.filename.replace("\\", "/"))  # as some Windows programs write it
                is_link = stat.S_ISLNK(member.external_attr >> 16)
                if member.is_dir():
                    continue
                if is_image(path) and not is_link:
                    self._members[path.as_posix()] = member
                else:
                    self.others.append(path.as_posix())
                    self.links += [path.as_posix()] * is_link
            limit = _limit(root)
            if sum(member.file_size for member in self._members.values()) > limit:
                raise zipfile.BadZipFile(_expands(limit))
        self.names = list(self._members)

    def read(self, names: Iterable[str], broken: dict[str, str]) -> Iterator[tuple[str, bytes]]:
        with _intact(self.root, "zip"), zipfile.ZipFile(self.root) as archive:
            for name in sorted(names, key=lambda name: self._members[name].header_offset):
                if (size := self._members[name].file_size) > MAX_FILE_BYTES:
                    broken[name] = _too_large(size)
                    continue
                try:
                    content = archive.read(self._members[name])
                except Exception as error:  # damaged, encrypted, or compressed in an unknown way
                    broken[name] = f"cannot be read ({printable(error)})"
                    continue
                yield name, content


class _Bounded:
    """A file whose reads are bounded by MAX_FILE_BYTES, and its positions by ``limit``, if given."""

    def __init__(self, file: IO[bytes], limit: int | None) -> None:
        self.file, self.limit = file, limit
        self.tell, self.seekable = file.tell, file.seekable

    def read(self, num: int) -> bytes:
        if num > MAX_FILE_BYTES:
            raise tarfile.ReadError(f"a header claims {num} bytes")
        content = self.file.read(num)
        self._check(self.tell())
        return content

    def seek(self, position: int) -> int:
        self._check(position)
        return self.file.seek(position)

    def _check(self, position: int) -> None:
        if self.limit is not None and position > self.limit:
            raise tarfile.ReadError(_expands(self.limit))


@contextmanager
def _open_tar(path: Path) -> Iterator[tuple[tarfile.TarFile, _Bounded]]:
    """Open a tar archive, compressed or not."""
    start = _start(path)
    opener = next((opener for magic, opener in _COMPRESSIONS.items() if start.startswith(magic)), None)
    if start.endswith(b"ustar"):  # the name of a member may start with BZh
        opener = None
    with path.open("rb") as file, opener(file) if opener else nullcontext(file) as content:
        bounded: Any = _Bounded(content, _limit(path) if opener else None)
        with tarfile.open(fileobj=bounded, mode="r:") as tar:
            yield tar, bounded


@contextmanager
def _intact(root: Path, kind: str) -> Iterator[None]:
    """Raise any error of a damaged archive, which may be of any type, as a DataError."""
    try:
        yield
    except Exception as error:
        reason = (str(error) or type(error).__name__).partition("\n")[0]
        raise DataError(f"{printable(root)} cannot be read as a {kind} archive ({reason}): {_EXPECTED}") from error


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(262)
    except OSError as error:
        raise DataError(f"{printable(path)} cannot be opened ({error.strerror}): change its permissions") from error


def _limit(path: Path) -> int:
    return max(FREE_EXPANSION, MAX_EXPANSION * path.stat().st_size)


def _expands(limit: int) -> str:
    return f"it expands to more than {limit >> 20} MiB, {MAX_EXPANSION} times its size or more"


def _too_large(num_bytes: int) -> str:
    return f"has {num_bytes:,} bytes, more than the {MAX_FILE_BYTES:,} of an image that is read"
