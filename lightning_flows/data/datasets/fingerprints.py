"""Fingerprints of files: short texts that differ if the files do."""

from collections.abc import Mapping
from hashlib import blake2b
from os import SEEK_END
from pathlib import Path

PART = 2**20
"""Bytes at the start and at the end of a file that its fingerprint depends on."""


def of_file(path: str | Path) -> str | None:
    """Fingerprint of a file, from its size, its first MiB and its last; None if it is no file, or not readable.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "a.csv")
    ...     _ = path.write_text("x,y")
    ...     of_file(path)
    '3 bytes, 2c8c1ba0dc92a417'
    """
    try:
        if not Path(path).is_file():  # a pipe would wait
            return None
        with open(path, "rb") as file:
            content, size = file.read(PART), file.seek(0, SEEK_END)
            file.seek(max(0, size - PART))
            content += file.read(PART)
    except (OSError, ValueError):  # ValueError for a name with NUL
        return None
    return f"{size} bytes, {blake2b(content, digest_size=8).hexdigest()}"


def of_files(sizes: Mapping[str, int]) -> str:
    """Fingerprint of files, from their names and sizes in bytes.

    >>> of_files({"a.png": 10, "b.png": 20})
    '2 files, dc096af45862154f'
    """
    text = "".join(f"{size} {name}\0" for name, size in sorted(sizes.items()))
    return f"{len(sizes)} files, {blake2b(text.encode(errors='surrogateescape'), digest_size=8).hexdigest()}"
