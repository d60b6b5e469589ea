"""Image files in a tar or zip archive, with limits on expansion and member size."""

import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path, PurePosixPath
from typing import IO, Any, ClassVar

from lightning_flows.data.datasets.sources import EXPECTED, MAX_FILE_BYTES, ImageSource, is_image, printable, too_large
from lightning_flows.errors import DataError

MAX_EXPANSION, FREE_EXPANSION = 100, 2**28
"""A compressed archive may expand to 100 times its size, or to 256 MiB if that is more."""

_COMPRESSIONS: dict[bytes, Any] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
    b"\x5d\x00\x00": lzma.open,
}


class ArchiveSource(ImageSource):
    """The image files of an archive; links, devices and paths that lead out of it are skipped."""

    kind: ClassVar[str]

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._members: dict[str, tuple[int, int, Any]] = {}  # offset, size, and the library's object for a member
        try:
            with self._open() as archive:
                self._list(archive)
        except Exception as error:  # a damaged archive may raise anything
            reason = (str(error) or type(error).__name__).partition("\n")[0]
            fact = f"cannot be read as a {self.kind} archive ({reason})"
            raise DataError(f"{printable(root)} {fact}: {EXPECTED}") from error
        self.names = list(self._members)
        self.sizes = {name: size for name, (_, size, _) in self._members.items()}

    @abstractmethod
    def _open(self) -> AbstractContextManager[Any]: ...

    @abstractmethod
    def _list(self, archive: Any) -> None: ...

    @abstractmethod
    def _extract(self, archive: Any, member: Any) -> bytes: ...

    def _add(self, name: str, member: tuple[int, int, Any], *, is_file: bool, is_link: bool) -> None:
        path = PurePosixPath(name)
        if is_file and is_image(path):
            self._members[path.as_posix()] = member  # a later member replaces an earlier one of the same name
        else:
            self.others.append(path.as_posix())
            self.links += [path.as_posix()] * is_link

    def read(self, names: Iterable[str], broken: dict[str, str]) -> Iterator[tuple[str, bytes]]:
        with self._open() as archive:
            for name in sorted(names, key=lambda name: self._members[name][0]):
                _, size, member = self._members[name]
                if reason := too_large(size):
                    broken[name] = reason
                    continue
                try:
                    content = self._extract(archive, member)
                except Exception as error:  # damaged, encrypted, or compressed in an unknown way
                    broken[name] = f"cannot be read ({printable(error)})"
                    continue
                yield name, content


class ZipSource(ArchiveSource):
    """A zip archive."""

    kind = "zip"

    def _open(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(self.root)

    def _list(self, archive: zipfile.ZipFile) -> None:
        for member in archive.infolist():
            if not member.is_dir():
                is_link = stat.S_ISLNK(member.external_attr >> 16)
                entry = member.header_offset, member.file_size, member
                self._add(member.filename.replace("\\", "/"), entry, is_file=not is_link, is_link=is_link)
        _check_expansion(sum(size for _, size, _ in self._members.values()), _limit(self.root))

    def _extract(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
        return archive.read(member)


class TarSource(ArchiveSource):
    """A tar archive, compressed or not."""

    kind = "tar"

    @contextmanager
    def _open(self) -> Iterator[tarfile.TarFile]:
        with self.root.open("rb") as file:
            start = file.read(262)
            file.seek(0)
            opener = next((opener for magic, opener in _COMPRESSIONS.items() if start.startswith(magic)), None)
            if start.endswith(b"ustar"):  # the name of a member may start with BZh
                opener = None
            with opener(file) if opener else nullcontext(file) as content:
                bounded: Any = _Bounded(content, _limit(self.root) if opener else None)
                with tarfile.open(fileobj=bounded, mode="r:") as tar:
                    yield tar

    def _list(self, archive: tarfile.TarFile) -> None:
        for member in archive:
            if not member.isdir():
                is_link = member.issym() or member.islnk()
                entry = member.offset_data, member.size, member
                self._add(member.name, entry, is_file=member.isfile(), is_link=is_link)
        file: Any = archive.fileobj
        while file.limit is not None and file.read(tarfile.BLOCKSIZE):
            pass  # the end of a compressed archive verifies its checksum

    def _extract(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
        file: Any = archive.extractfile(member)  # None only for members that are not regular files
        return file.read()


class _Bounded:
    """A file of which at most MAX_FILE_BYTES are read at once, and ``limit`` in all, if any.

    What is read between two seeks or blocks, which may be headers of members, counts as one: since Python 3.14, tarfile
    reads long headers in pieces.
    """

    def __init__(self, file: IO[bytes], limit: int | None) -> None:
        self.file, self.limit, self.num_asked = file, limit, 0
        self.tell, self.seekable = file.tell, file.seekable

    def read(self, num: int) -> bytes:
        self.num_asked = 0 if num == tarfile.BLOCKSIZE else self.num_asked + num
        if self.num_asked > MAX_FILE_BYTES:
            raise tarfile.ReadError(f"a header claims more than {MAX_FILE_BYTES >> 20} MiB")
        content = self.file.read(num)
        _check_expansion(self.tell(), self.limit)
        return content

    def seek(self, position: int) -> int:
        self.num_asked = 0
        _check_expansion(position, self.limit)
        return self.file.seek(position)


def _limit(path: Path) -> int:
    return max(FREE_EXPANSION, MAX_EXPANSION * path.stat().st_size)


def _check_expansion(num_bytes: int, limit: int | None) -> None:
    if limit is not None and num_bytes > limit:
        raise tarfile.ReadError(f"it expands to more than {limit >> 20} MiB, {MAX_EXPANSION} times its size or more")
