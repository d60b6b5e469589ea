"""Writing files without losing what was there."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from lightning_flows.errors import OutputError


def check_new_file(path: Path) -> None:
    """Make the folder of a file that is to be written. Raises: OutputError if it cannot be made or the file exists."""
    if path.exists():
        raise OutputError(f"expected a new file; got {path}, which exists and is kept: name another or move it away")
    check_writable(path.parent)


def check_writable(folder: Path) -> None:
    """Make a folder and try to write into it. Raises: OutputError with the reason if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # of a name of its own: several processes may try at once
            pass
    except OSError as error:
        raise OutputError(f"expected a folder to write to; got {folder} ({error.strerror}): name another") from error


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the place of ``path`` once it is whole and on the disk.

    It is written beside, as ``path`` with the suffix ``.part``, and renamed: whenever the process is killed or the disk
    is full, ``path`` holds what it held before or all of the new.

    Raises: OutputError with the reason if that fails.
    """
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        _remove(part)
        raise OutputError(
            f"expected to write {path}; it could not be ({error.strerror or error}) and is as it was before: free some "
            "space or make its folder writable, then start the same command again"
        ) from error
    except BaseException:
        _remove(part)
        raise


def _remove(path: Path) -> None:
    with suppress(OSError):  # in a folder that cannot be written it stays; the next writing replaces it
        path.unlink(missing_ok=True)
