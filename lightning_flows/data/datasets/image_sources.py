"""Where image files lie: a folder or a tar archive, listed and read without writing anything to disk."""

import os
import stat
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from lightning_flows.data.datasets.archives import MAX_FILE_BYTES, open_tar, read_to_end
from lightning_flows.errors import DataError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
REPLACE = "remove or replace it"


class ImageSource(ABC):
    """Sorted names of image files, and access to their content.

    Attributes:
        root: the folder or archive.
        names: relative names of the image files, sorted.
        others: names of entries left out: other files, links in archives, folders reached again through a link.
        links: the links among ``others``.
        real: resolved path of each image in a folder; ``file_links`` are the names that are links.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names: list[str] = []
        self.others: list[str] = []
        self.links: list[str] = []
        self.real: dict[str, str] = {}
        self.file_links: set[str] = set()

    @property
    def num_others(self) -> int:
        """Number of files that are left out."""
        return len(self.others)

    @abstractmethod
    def read(self, names: Iterable[str], broken: dict[str, str] | None = None) -> Iterator[tuple[str, bytes]]:
        """Yield (name, content) for each of ``names``, in the order that reads fastest.

        Reasons why files cannot be read are stored in ``broken``, by name. Raises: DataError without ``broken``.
        """

    def _refuse(self, name: str, reason: str, broken: dict[str, str] | None, *, advice: str = REPLACE) -> None:
        if broken is None:
            raise DataError(f"{printable(self.root / name)} {reason}: {advice}")
        broken[name] = reason


def open_source(root: str | Path) -> ImageSource:
    """List the image files below ``root``, a folder or a tar archive (``.tar``, ``.tar.gz``, …).

    Raises: DataError if root is missing, is neither a folder nor a tar, cannot be read, or holds no images.
    """
    path = Path(root)
    if not str(root):
        raise DataError("root is empty: give a folder or a .tar of images, or . for the working folder")
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{path} does not exist: expected a folder or a .tar of images; correct root") from error
    except (OSError, ValueError) as error:  # such as a name that is too long, a folder without permission, or NUL
        raise DataError(f"{printable(path)} cannot be opened ({error}): correct root") from error
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise DataError(f"{path} is neither a folder nor a regular file: expected a folder or a .tar of images")
    source: ImageSource = FolderSource(path) if stat.S_ISDIR(mode) else TarSource(path)
    if not source.names:
        found = f"found {len(source.others)} other files" if source.others else "it is empty"
        raise DataError(f"{path} holds no images ({found}): expected files ending in {' '.join(SUFFIXES)}")
    return source


def is_image(path: PurePosixPath) -> bool:
    """Say whether a relative path names an image: a known suffix, nothing hidden, no way out of the root.

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


def _too_large(num_bytes: int) -> str:
    return f"has {num_bytes:,} bytes, more than the {MAX_FILE_BYTES:,} of an image that is read"


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
        self.names.sort()

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            reason = f"cannot be listed ({error.strerror}): change its permissions or root"
            raise DataError(f"{printable(folder)} {reason}") from error

    def _add(self, entry: os.DirEntry[str], folder: str) -> None:
        name = Path(entry.path).relative_to(self.root).as_posix()
        if is_image(PurePosixPath(name)):
            self.names.append(name)
            self.real[name] = os.path.join(folder, entry.name)
            if entry.is_symlink():
                self.real[name] = os.path.realpath(entry.path)
                self.file_links.add(name)
        else:
            self.others.append(name)

    def read(self, names: Iterable[str], broken: dict[str, str] | None = None) -> Iterator[tuple[str, bytes]]:
        """Yield (name, content) in the given order; see :class:`ImageSource`."""
        for name in names:
            path = self.root / name
            try:
                if not path.is_file():
                    self._refuse(name, "is no regular file or leads nowhere", broken)
                elif (size := path.stat().st_size) > MAX_FILE_BYTES:
                    self._refuse(name, _too_large(size), broken)
                else:
                    yield name, path.read_bytes()
            except OSError as error:
                self._refuse(name, f"cannot be read ({error.strerror})", broken, advice="change its permissions")


class TarSource(ImageSource):
    """The image files of a tar archive. Links, devices and paths that lead out of it are left out."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._members: dict[str, tarfile.TarInfo] = {}
        try:
            with open_tar(root) as tar:
                for member in tar:
                    self._add(member)
                read_to_end(tar)
        except Exception as error:  # tarfile and decompressors may raise anything for a broken archive
            raise self._broken(error) from error
        self.names = sorted(self._members)

    def _add(self, member: tarfile.TarInfo) -> None:
        path = PurePosixPath(member.name)
        if member.isfile() and is_image(path):
            self._members[path.as_posix()] = member  # a later member replaces an earlier one of the same name
        elif not member.isdir():
            self.others.append(path.as_posix())
            if member.issym() or member.islnk():
                self.links.append(path.as_posix())

    def read(self, names: Iterable[str], broken: dict[str, str] | None = None) -> Iterator[tuple[str, bytes]]:
        """Yield (name, content) in the archive's order; see :class:`ImageSource`. Raises: DataError if truncated."""
        try:
            with open_tar(self.root) as tar:
                for name in sorted(names, key=lambda name: self._members[name].offset_data):
                    if (size := self._members[name].size) > MAX_FILE_BYTES:
                        self._refuse(name, _too_large(size), broken)
                        continue
                    file = tar.extractfile(self._members[name])
                    assert file is not None  # only regular members are listed
                    yield name, file.read()
        except DataError:
            raise
        except Exception as error:
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> DataError:
        reason = (str(error) or type(error).__name__).partition("\n")[0]
        return DataError(
            f"{printable(self.root)} cannot be read as a tar archive ({reason}): expected a folder of images, a .tar "
            "or a .tar.gz; copy or pack it again"
        )
