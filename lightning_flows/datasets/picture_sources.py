"""Where picture files lie: a folder or a tar archive, listed and read without writing anything to disk."""

import lzma
import os
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Protocol

from lightning_flows.errors import DataError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

_TAR_ERRORS = (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError)


class PictureSource(Protocol):
    """Names of picture files, sorted, and a way to their bytes."""

    root: Path
    names: list[str]
    num_others: int

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yield (name, content) for each of ``names``, in whatever order reads fastest."""


def open_source(root: str | Path) -> PictureSource:
    """List the picture files below ``root``, a folder or a tar archive (``.tar``, ``.tar.gz``, …).

    Raises: DataError if root is missing, is neither a folder nor a tar, cannot be read, or holds no pictures.
    """
    path = Path(root)
    if not path.exists():
        raise DataError(f"{path} does not exist: expected a folder or a .tar of pictures; correct root")
    source: PictureSource = FolderSource(path) if path.is_dir() else TarSource(path)
    if not source.names:
        found = f"found {source.num_others} other files" if source.num_others else "it is empty"
        raise DataError(f"{path} holds no pictures ({found}): expected files ending in {' '.join(SUFFIXES)}")
    return source


def is_picture(path: PurePosixPath) -> bool:
    """Say whether a relative path names a picture: a known suffix, nothing hidden, no way out of the root.

    >>> [is_picture(PurePosixPath(name)) for name in ("cat/1.JPG", "notes.txt", ".cache/1.jpg", "../1.jpg", "/1.jpg")]
    [True, False, False, False, False]
    """
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in SUFFIXES and not hidden and not path.is_absolute()


class FolderSource:
    """The picture files of a folder and its subfolders; links are followed, each folder once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        files = list(self._files())
        self.names = sorted(name for name in files if is_picture(PurePosixPath(name)))
        self.num_others = len(files) - len(self.names)

    def _files(self) -> Iterator[str]:
        seen = {os.path.realpath(self.root)}
        for folder, subfolders, files in os.walk(self.root, followlinks=True, onerror=self._refuse):
            real = {name: os.path.realpath(os.path.join(folder, name)) for name in sorted(subfolders)}
            subfolders[:] = [name for name, path in real.items() if path not in seen]
            seen.update(real.values())
            yield from (Path(folder, name).relative_to(self.root).as_posix() for name in files)

    def _refuse(self, error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be listed ({error.strerror}): change its permissions or root")

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yield (name, content) in the given order; DataError names a file that cannot be read."""
        for name in names:
            path = self.root / name
            if not path.is_file():
                raise DataError(f"{path} is no regular file or leads nowhere: remove it or replace it")
            try:
                yield name, path.read_bytes()
            except OSError as error:
                raise DataError(f"{path} cannot be read ({error.strerror}): change its permissions") from error


class TarSource:
    """The picture files of a tar archive. Links, devices and paths that lead out of it are left out."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._members: dict[str, tarfile.TarInfo] = {}
        self.num_others = 0
        try:
            with tarfile.open(root) as tar:
                for member in tar:
                    path = PurePosixPath(member.name)
                    if member.isfile() and is_picture(path):
                        self._members[path.as_posix()] = member  # a later member of the same name replaces an earlier
                    elif not member.isdir():
                        self.num_others += 1
                while tar.fileobj and tar.fileobj.read(1 << 20):
                    pass  # up to the checksum at the end of a compressed archive
        except _TAR_ERRORS as error:
            raise self._broken(error) from error
        self.names = sorted(self._members)

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yield (name, content) in the archive's order; DataError if it breaks off."""
        try:
            with tarfile.open(self.root) as tar:
                for name in sorted(names, key=lambda name: self._members[name].offset_data):
                    file = tar.extractfile(self._members[name])
                    assert file is not None  # only regular members are listed
                    yield name, file.read()
        except _TAR_ERRORS as error:
            raise self._broken(error) from error

    def _broken(self, error: BaseException) -> DataError:
        reason = str(error).partition("\n")[0].rstrip(":")  # tarfile adds a line for each compression it tried
        return DataError(
            f"{self.root} cannot be read as a tar archive ({reason}): expected a folder of pictures, a .tar or a "
            f".tar.gz; copy or pack it again"
        )
