"""Atomic file writes: nothing is lost, and no partial file is left behind."""

import fcntl
import io
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from lightning_flows.errors import FlowsError, OutputError

NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
EXISTING = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # non-blocking: a named pipe never ends
AGAIN = "start the same command again"
ADVICE = f"free some space or make its folder writable, then {AGAIN}"


def check_new_file(path: Path) -> None:
    """Create the folder of a file to write. Raises: OutputError if it cannot be created, or if the file exists."""
    check_writable(path.parent)
    try:
        os.lstat(path)  # a dangling link exists, too
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:  # such as a name that is too long or contains NUL
        raise OutputError(f"expected a file to write; got {path} ({_reason(error)}): name another") from error
    raise _exists(path)


def check_writable(folder: Path) -> None:
    """Create a folder and try to write into it. Raises: OutputError with the reason if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # a unique name: several processes may try at once
            pass
    except (OSError, ValueError) as error:
        raise OutputError(f"expected a folder to write to; got {folder} ({_reason(error)}): name another") from error


def folder_inside(folder: Path, name: str) -> Path:
    """Create the folder ``name`` inside another. Raises: OutputError if it is a link, which may lead outside."""
    path = folder / name
    if path.is_symlink():
        raise OutputError(f"expected a folder to write to; got {path}, which is a link: move it away")
    check_writable(path)
    return path


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """Open a file that replaces ``path`` once it is complete and on disk.

    It is written next to ``path``, to a unique hidden file with the suffix ``.part``, and then renamed: if a process is
    killed, the disk is full or several processes write at once, ``path`` has either its old content or the complete
    content from one of them. If ``path`` is a link, the link is replaced and its target is left untouched. Leftovers of
    killed processes for the same ``path`` are removed.

    Raises: OutputError with the reason if that fails.
    """
    with _written([path], "and is as it was before") as ((file, part),):
        yield file
        _to_disk(file)
        os.replace(part, path)


@contextmanager
def created(path: Path) -> Iterator[BinaryIO]:
    """Open a file that appears as ``path`` once it is complete and on disk; see :func:`created_together`."""
    with created_together([path]) as (file,):
        yield file


@contextmanager
def created_together(paths: Sequence[Path]) -> Iterator[list[BinaryIO]]:
    """Open files that appear under their names once all are complete and on disk: all of them, or none.

    An existing file is never replaced, even if it appears in the meantime.

    Raises: OutputError if one exists, or with the reason if they cannot be written.
    """
    with _written(paths, "and was not made") as parts:
        yield [file for file, _ in parts]
        for file, _ in parts:
            _to_disk(file)
        try:
            for (_, part), path in zip(parts, paths, strict=True):
                _place(part, path)
        except BaseException:
            for (file, _), path in zip(parts, paths, strict=True):
                if _is_at(file, path):
                    _remove(path)
            raise


def appended_line(path: Path, text: str) -> None:
    """Append a line to a file, which is created if needed: atomically, even with concurrent writers.

    An unfinished last line, left by an earlier process, is terminated first.

    Raises: OutputError with the reason if that fails, or if ``path`` is a link or not a file.
    """
    try:
        descriptor = os.open(path, EXISTING | os.O_CREAT | os.O_APPEND, 0o666)
    except (OSError, ValueError) as error:
        raise OutputError(f"expected to add a line to {path}; it could not be ({_reason(error)})") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OutputError(f"expected to add a line to {path}; it is no file: move it away")
        _lock(descriptor)
        size = os.fstat(descriptor).st_size
        unfinished = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        line = f"{chr(10) * unfinished}{text}\n".encode()
        try:
            if os.write(descriptor, line) != len(line):
                raise OSError("No space left on device")
            os.fsync(descriptor)
        except BaseException:
            os.ftruncate(descriptor, size)
            raise
    except OSError as error:
        if isinstance(error, FlowsError):
            raise
        raise OutputError(
            f"expected to add a line to {path}; it could not be ({_reason(error)}) and is as it was before: {ADVICE}"
        ) from error
    finally:
        os.close(descriptor)


class _File(io.FileIO):
    """A file that remembers a write error."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write, and remember an error."""
        try:
            return super().write(data)
        except OSError as error:
            self.error = error
            raise


@contextmanager
def _written(paths: Sequence[Path], state: str) -> Iterator[list[tuple[BinaryIO, str]]]:
    """Temporary files next to ``paths``, with their names; none of them is left behind."""
    parts: list[tuple[BinaryIO, str]] = []
    try:
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(path)
            parts.append(_open_beside(path))
        yield parts
    except Exception as error:
        names = {part for _, part in parts} | {os.fspath(name) for path in paths for name in (path, path.parent)}
        ours = isinstance(error, OSError) and (error.filename is None or os.fspath(error.filename) in names)
        # a library that closes an incomplete file may raise its own error after the disk's
        reason = next((file.raw.error for file, _ in parts if file.raw.error), error)  # type: ignore[attr-defined]
        if isinstance(error, FlowsError) or (reason is error and parts and not ours):
            raise  # an error of the caller's code
        what = " and ".join(map(str, paths))
        raise OutputError(
            f"expected to write {what}; it could not be ({_reason(reason)}) {state}: {ADVICE}"
        ) from reason
    finally:
        for file, part in parts:
            _remove(Path(part))  # first: while the file is open, no other process treats it as a leftover
            with suppress(OSError):
                file.close()


def _open_beside(path: Path) -> tuple[BinaryIO, str]:
    """A new hidden file next to ``path``, locked while this process has it open."""
    while True:
        part = os.path.join(path.parent, f"{_prefix(path)}{secrets.token_hex(4)}.part")
        file = io.BufferedWriter(_File(part, "xb"))
        _lock(file.fileno())
        if _is_at(file, part):
            return file, part
        file.close()  # another process removed it as a leftover before it was locked


def _remove_leftovers(path: Path) -> None:
    """Remove files that dead writers of ``path`` left behind: nobody holds a lock on them."""
    prefix = _prefix(path)
    with suppress(OSError), os.scandir(path.parent) as entries:
        names = [entry.path for entry in entries if entry.name.startswith(prefix) and entry.name.endswith(".part")]
        for name in names:
            with suppress(OSError):
                descriptor = os.open(name, EXISTING)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if stat.S_ISREG(os.fstat(descriptor).st_mode):
                        os.unlink(name)
                finally:
                    os.close(descriptor)


def _prefix(path: Path) -> str:
    """Prefix of the temporary names for ``path``, short enough for a suffix."""
    return f".{os.fsdecode(os.fsencode(path.name)[:200])}."


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _place(part: str, path: Path) -> None:
    """Move a written file to ``path``, which must not exist yet."""
    try:
        try:
            os.link(part, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links: reserve the name, then replace it
            os.close(os.open(path, NEW, 0o666))
            try:
                os.replace(part, path)
            except BaseException:
                _remove(path)
                raise
    except FileExistsError as error:
        raise _exists(path) from error


def _is_at(file: BinaryIO, path: str | Path) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(file.fileno()))
    except OSError:
        return False


def _exists(path: Path) -> OutputError:
    return OutputError(f"expected a new file; got {path}, which exists and is kept: name another or move it away")


def _lock(descriptor: int) -> None:
    with suppress(OSError):  # a file system without locks
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _remove(path: Path) -> None:
    with suppress(OSError):  # stays, hidden, if the folder is not writable
        path.unlink(missing_ok=True)
