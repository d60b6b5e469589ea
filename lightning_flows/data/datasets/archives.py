"""Tar archives, compressed or not, with limits on expansion and member size."""

import bz2
import gzip
import lzma
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

MAX_FILE_BYTES = 2**29
"""Largest image file that is read, and largest header of an archive: 512 MiB."""

MAX_EXPANSION, FREE_EXPANSION = 100, 2**28
"""A compressed archive may expand to 100 times its size, or to 256 MiB if that is more."""

_COMPRESSIONS: dict[bytes, Any] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
    b"\x5d\x00\x00": lzma.open,
}


@contextmanager
def open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    """Open a tar archive for reading; :func:`read_to_end` also verifies the checksum of a compressed one.

    Raises: while reading, tarfile.TarError if a limit is exceeded, and any error for a broken archive.
    """
    with path.open("rb") as file:
        start = file.read(262)
        file.seek(0)
        opener = next((opener for magic, opener in _COMPRESSIONS.items() if start.startswith(magic)), None)
        if opener is None or start.endswith(b"ustar"):  # the name of a member may start with BZh
            bounded: Any = _Bounded(file)
            with tarfile.open(fileobj=bounded, mode="r:") as tar:
                yield tar
            return
        limit = max(FREE_EXPANSION, MAX_EXPANSION * path.stat().st_size)
        with opener(file) as expanded:
            bounded = _Bounded(expanded, limit)
            with tarfile.open(fileobj=bounded, mode="r:") as tar:
                yield tar


def read_to_end(tar: tarfile.TarFile) -> None:
    """Read a compressed archive from its last member to its end, which verifies the checksum."""
    file = tar.fileobj
    if isinstance(file, _Bounded) and file.limit is not None:
        while file.read(1 << 20):
            pass


class _Bounded:
    """A file whose reads are bounded by MAX_FILE_BYTES, and its positions by ``limit``, if given."""

    def __init__(self, file: IO[bytes], limit: int | None = None) -> None:
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
            raise tarfile.ReadError(
                f"it expands to more than {self.limit >> 20} MiB, {MAX_EXPANSION} times its size or more"
            )
