"""Atomic file writes: no data is lost, and no partial file is left behind."""

import fcntl
import io
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from lightning_flows.errors import FlowsError, OutputError, UsageError

NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
EXISTING = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # non-blocking: a named pipe never ends
PAGE_SUFFIXES = (".html", ".htm")
AGAIN = "rerun the command"
ADVICE = f"free some space or make its folder writable, then {AGAIN}"


def check_suffix(path: str | Path, suffixes: Sequence[str], kind: str, name: str = "a name") -> None:
    """Raise UsageError, which asks for ``name`` with the first suffix, unless the path has one of them.

    >>> check_suffix("a.txt", (".html", ".htm"), "an HTML file", "an --out")
    Traceback (most recent call last):
        ...
    lightning_flows.errors.UsageError: a.txt is not an HTML file: choose an --out that ends in .html
    """
    if Path(path).suffix.lower() not in suffixes:
        raise UsageError(f"{path} is not {kind}: choose {name} that ends in {suffixes[0]}")


def check_new_file(path: Path, *, overwrite: bool = False) -> None:
    """Check that a file can be written, without creating its folder.

    Raises: OutputError if that cannot be created, or if the file exists and ``overwrite`` is False.
    """
    try:
        there = next(each for each in path.absolute().parents if os.path.lexists(each))
        _try_writing(there)
    except (OSError, ValueError) as error:
        raise _not_writable(path.parent, error) from error
    exists, parts = False, path.absolute().relative_to(there).parts
    try:
        for part in parts:  # folders to create, and the file
            with suppress(FileNotFoundError):
                os.lstat(there / part)  # a dangling link exists as well
                exists = len(parts) == 1
    except (OSError, ValueError) as error:  # such as a name that is too long or contains NUL
        raise OutputError(f"{path} cannot be written ({_reason(error)}): choose another name") from error
    if not exists:
        return
    if not overwrite:
        raise _exists(path)
    if path.is_dir():
        raise OutputError(f"{path} is a folder: choose another name")


def check_writable(folder: Path) -> None:
    """Create a folder and try to write to it. Raises: OutputError with the reason if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _try_writing(folder)
    except (OSError, ValueError) as error:
        raise _not_writable(folder, error) from error


def _try_writing(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder):  # a unique name: several processes may try at once
        pass


def _not_writable(folder: Path, error: Exception) -> OutputError:
    return OutputError(f"{folder} is not a writable folder ({_reason(error)}): choose another")


def folder_inside(folder: Path, name: str) -> Path:
    """Create the folder ``name`` inside another. Raises: OutputError if it is a link, which may lead outside."""
    path = folder / name
    if path.is_symlink():
        raise OutputError(f"{path} is a link, which is not followed: move it")
    check_writable(path)
    return path


def replaced(path: Path) -> AbstractContextManager[BinaryIO]:
    """Open a file that replaces ``path`` once it is complete and on disk; see :func:`created_together`."""
    return created(path, overwrite=True)


@contextmanager
def created(path: Path, *, overwrite: bool = False) -> Iterator[BinaryIO]:
    """Open a file that appears as ``path`` once it is complete and on disk; see :func:`created_together`."""
    with created_together([path], overwrite=overwrite) as (file,):
        yield file


@contextmanager
def created_together(paths: Sequence[Path], *, overwrite: bool = False) -> Iterator[list[BinaryIO]]:
    """Open files that appear under their names once all are complete and on disk: all of them, or none.

    Each is written next to its path, to a unique hidden file with the suffix ``.part``, and then renamed: if a process
    is killed, the disk is full or several processes write at once, each path has either its old content or the complete
    content from one of them. Leftovers of killed processes for the same paths are removed.

    Args:
        paths: files to write.
        overwrite: replace existing files; a link is replaced, and its target left untouched. Otherwise no file is
            replaced, even if it appears in the meantime.

    Raises: OutputError if a file exists, or with the reason if they cannot be written.
    """
    with _parts(paths) as parts:
        yield [file for file, _ in parts]
        for file, _ in parts:
            file.flush()
            os.fsync(file.fileno())
        try:
            for (_, part), path in zip(parts, paths, strict=True):
                os.replace(part, path) if overwrite else _place(part, path)
        except BaseException:
            for (file, _), path in zip(parts, paths, strict=True):
                if not overwrite and _is_at(file, path):
                    _remove(path)
            raise


def appended_line(path: Path, text: str) -> None:
    """Append a line to a file, which is created if needed: atomically, even with concurrent writers.

    An incomplete last line, left by an earlier process, is terminated first.

    Raises: OutputError with the reason if that fails, or if ``path`` is a link or not a regular file.
    """
    try:
        descriptor = os.open(path, EXISTING | os.O_CREAT | os.O_APPEND, 0o666)
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} cannot be appended to ({_reason(error)})") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OutputError(f"{path} is not a regular file: move it")
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
        raise OutputError(f"{path} cannot be appended to ({_reason(error)}) and is unchanged: {ADVICE}") from error
    finally:
        os.close(descriptor)


class _File(io.FileIO):
    """A file that remembers a write error: a library that closes the incomplete file may raise another one."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.error = error
            raise


@contextmanager
def _parts(paths: Sequence[Path]) -> Iterator[list[tuple[BinaryIO, str]]]:
    """Open temporary files next to ``paths``, and remove them at the end; yields files and names."""
    parts: list[tuple[BinaryIO, str]] = []
    try:
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(path)
            parts.append(_open_part(path))
        yield parts
    except Exception as error:
        names = {part for _, part in parts} | {os.fspath(name) for path in paths for name in (path, path.parent)}
        ours = isinstance(error, OSError) and (error.filename is None or os.fspath(error.filename) in names)
        reason = next((file.raw.error for file, _ in parts if file.raw.error), error)  # type: ignore[attr-defined]
        if isinstance(error, FlowsError) or (reason is error and parts and not ours):
            raise  # an error of the caller's code
        what = " and ".join(map(str, paths))
        raise OutputError(f"{what} could not be written ({_reason(reason)}): nothing was changed; {ADVICE}") from reason
    finally:
        for file, part in parts:
            _remove(Path(part))  # first: while the file is open, no other process treats it as a leftover
            with suppress(OSError):
                file.close()


def _open_part(path: Path) -> tuple[BinaryIO, str]:
    """Open a new hidden file next to ``path``, locked while this process has it open."""
    while True:
        part = os.path.join(path.parent, f"{_prefix(path)}{secrets.token_hex(4)}.part")
        file = io.BufferedWriter(_File(part, "xb"))
        _lock(file.fileno())
        if _is_at(file, part):
            return file, part
        file.close()  # another process removed it as a leftover before it was locked


def _remove_leftovers(path: Path) -> None:
    """Remove files that killed writers of ``path`` left behind: those that no process has locked."""
    prefix = _prefix(path)
    with suppress(OSError):
        for name in [each for each in os.listdir(path.parent) if each.startswith(prefix) and each.endswith(".part")]:
            with suppress(OSError):
                descriptor = os.open(path.parent / name, EXISTING)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if stat.S_ISREG(os.fstat(descriptor).st_mode):
                        os.unlink(path.parent / name)
                finally:
                    os.close(descriptor)


def _prefix(path: Path) -> str:
    """Prefix of the temporary names for ``path``, short enough for a suffix."""
    return f".{os.fsdecode(os.fsencode(path.name)[:200])}."


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
    return OutputError(f"{path} exists: choose another file, or add --overwrite")


def _lock(descriptor: int) -> None:
    with suppress(OSError):  # a file system without locks
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _remove(path: Path) -> None:
    with suppress(OSError):  # stays, hidden, if the folder is not writable
        path.unlink(missing_ok=True)
