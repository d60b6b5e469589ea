"""Run folders: one per run, with one owner at a time."""

import fcntl
import itertools
import json
import os
import re
import time
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from lightning_flows.errors import CheckpointError, OutputError
from lightning_flows.files import check_writable, replaced

LOCK, RECORD = ".lock", "run.json"
"""Files in a run folder: the lock of its owner, and the record of the run."""

DIVERGED = "diverged"
"""State of a run that ended because its loss was not finite."""
LAST = Path("checkpoints/last.ckpt")
LARGEST_RECORD = 65536  # bytes


class RunFolder:
    """A folder ``version_N``, owned by one process at a time.

    N is one above all existing numbers, and the folder is created atomically, so that two runs never share one. The
    owner holds a lock on the file ``.lock`` until its process exits. ``run.json`` records the number, a random id that
    identifies copies, the state (running, stopped, failed, diverged or finished), the times of start and end, and the
    folder of the checkpoints if that is elsewhere.

    Args:
        path: the folder; see :meth:`create` for a new one.
    """

    def __init__(self, path: Path, number: int | None = None) -> None:
        self.path, self.is_new = path, False
        self._number = number
        self._lock: IO[str] | None = None
        self._found: dict[str, Any] = {}

    @classmethod
    def create(cls, parent: Path, name: str | None = None, *, others: Iterable[Path] = ()) -> "RunFolder":
        """Create and own a new folder in ``parent``: ``name``, or ``version_N`` with N unused there and in ``others``.

        Raises: OutputError if it cannot be created, or if ``name`` already contains files.
        """
        check_writable(parent)
        if name is not None:
            run = cls(parent / name, _number_of(name))
            for path in (each / name for each in (parent, *others)):
                if path.exists() and any(path.iterdir()):
                    advice = ", or resume with --ckpt_path=last" if (path / LAST).is_file() else ""
                    raise OutputError(
                        f"{path} contains files of another run: choose another version of the logger{advice}"
                    )
            run.path.mkdir(parents=True, exist_ok=True)
        else:
            numbers = [_number(path) for each in (parent, *others) for path in _folders(each)]
            number = 1 + max((each for each in numbers if each is not None), default=-1)
            while True:
                run = cls(parent / f"version_{number}", number)
                with suppress(FileExistsError):
                    run.path.mkdir()
                    break
                number += 1
        run.is_new = True
        run.acquire()
        return run

    def acquire(self) -> None:
        """Own the folder until :meth:`release` or until the process exits.

        Raises: OutputError if another process owns it, if a link in it leads outside, or if an entry is neither a file
            nor a folder: a run would write to it.
        """
        inside = self.path.resolve()
        for path in (*self.path.iterdir(), *self.path.glob("*/*")):
            target = Path(os.path.realpath(path))  # of circular links, one of them
            if path.is_symlink() and (inside not in target.parents or target.is_symlink()):
                raise OutputError(f"{path} is a link that leads out of the run's folder: replace it with its target")
            if target.exists() and not target.is_file() and not target.is_dir():
                raise OutputError(f"{path} is not a regular file: remove it")
        self._lock = locked(self.path)
        self._found = _record(self.path)
        self.note("running")

    def note(self, state: str, checkpoints: Path | None = None) -> None:
        """Record the state of the run, and the folder of its checkpoints if it is not the usual one."""
        record = {"id": uuid.uuid4().hex, "number": self._number, "started": time.time()} | _record(self.path)
        record.pop("ended", None)
        record |= {"state": state} | ({} if state == "running" else {"ended": time.time()})
        record |= {} if checkpoints is None else {"checkpoints": str(checkpoints.resolve())}
        self._write(record)

    def _write(self, record: Mapping[str, Any]) -> None:
        with replaced(self.path / RECORD) as file:
            file.write(f"{json.dumps(record)}\n".encode())

    def release(self, state: str, *, trained: bool = True) -> None:
        """Record the state and release the lock.

        A run that has not trained keeps its earlier record, unless it had not finished and now has: only its last
        validation was missing.
        """
        if self._lock is not None:
            found = self._found.get("state", "running")
            with suppress(OutputError):
                if trained or found == "running" or (state == "finished" and found in ("stopped", "failed")):
                    self.note(state)
                else:
                    self._write(self._found)
            self._lock.close()
            self._lock = None

    def drop(self) -> None:
        """Remove the folder of a run that ended before its data was loaded, unless there is more than empty curves."""
        files = list(self.path.iterdir()) if self.path.is_dir() else []
        empty = ("events.out.tfevents", "hparams.yaml", "metrics.csv", LOCK, RECORD)
        if self.is_new and all(file.name.startswith(empty) and not file.is_dir() for file in files):
            for file in files:
                file.unlink()
            with suppress(OSError):  # the parent folders may hold other runs
                self.path.rmdir()
                self.path.parent.rmdir()


def locked(folder: Path, advice: str = "start a new run without --ckpt_path=last") -> IO[str]:
    """Lock a folder until the file that is returned is closed.

    Raises: OutputError if another process has locked it, with ``advice``, or if it cannot be locked.
    """
    try:
        file = open(folder / LOCK, "a+", opener=_without_links)  # noqa: SIM115
    except OSError as error:
        raise OutputError(f"{folder} cannot be locked ({error}): choose another folder") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        owner = re.sub(r"\D", "", file.read(32))
        file.close()
        raise OutputError(
            f"{folder} belongs to a run in progress (process {owner or 'unknown'}): wait for it to end, or {advice}"
        ) from error
    except OSError as error:
        file.close()
        raise OutputError(f"{folder} cannot be locked ({error}): choose one in a file system with locks") from error
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    os.register_at_fork(after_in_child=file.close)  # data loading workers must not hold the lock
    return file


def is_unsaved(folder: Path) -> bool:
    """Whether a folder is that of a run that ended before it wrote a checkpoint, there or elsewhere."""
    record = _record(folder)
    places = [folder, *([Path(str(record["checkpoints"]))] if "checkpoints" in record else [])]
    return bool(record) and not any(any(place.glob("**/*.ckpt")) for place in places)


def set_aside(folder: Path) -> Path:
    """Rename a folder to ``NAME_1`` or the next unused number, and return it.

    Raises: OutputError if it belongs to a run in progress.
    """
    with locked(folder):
        unused = (folder.with_name(f"{folder.name}_{number}") for number in itertools.count(1))
        return folder.rename(next(path for path in unused if not path.exists()))


def newest(parent: Path) -> tuple[Path | None, list[str]]:
    """Find the newest run below a folder with a ``last.ckpt``, and return a message for each run that is skipped.

    A renamed run is recognized by its record; a copy, which has the id of another run, is skipped.

    Raises: CheckpointError if it is ambiguous which run is the newest.
    """
    by_id: dict[Any, Path] = {}
    remarks = []
    for path in sorted((path for path in _folders(parent) if (path / LAST).is_file()), key=_order):
        identity = _record(path).get("id", path.name)
        if identity in by_id:  # a run sorts after its copies, as its name matches its number
            remarks.append(f"{by_id[identity]} is a copy of {path} and is skipped")
        by_id[identity] = path
    if not by_id:
        return None, []
    *others, last = sorted(by_id.values(), key=_order)
    if not last.name.isprintable():
        raise CheckpointError(f"the newest run below {parent} is {last.name!r}, which is not printable: rename it")
    if same := [path for path in others if _number(path) == _number(last)]:
        raise CheckpointError(
            f"it is ambiguous which of {' and '.join(map(str, (*same, last)))} is the newest run: pass its checkpoint "
            "with --ckpt_path FILE"
        )
    skipped = "has no number and is skipped: pass its checkpoint with --ckpt_path FILE to resume it"
    return last, remarks + [f"{path} {skipped}" for path in others if _number(path) is None]


def run_of_checkpoints(checkpoints: Path, parent: Path) -> Path | None:
    """Find the newest run below ``parent`` whose checkpoints are in ``checkpoints``, a folder elsewhere."""
    here = str(checkpoints.resolve())
    return max(
        (path for path in _folders(parent) if _record(path).get("checkpoints") == here), key=_order, default=None
    )


def state_of(folder: Path) -> str:
    """State of a run: running, stopped, failed, diverged or finished; unknown without a valid record."""
    return str(_record(folder).get("state", "unknown"))


def _folders(parent: Path) -> list[Path]:
    try:
        return [path for path in parent.iterdir() if path.is_dir() and not path.is_symlink()]
    except OSError:
        return []


def _order(path: Path) -> tuple[int, bool]:
    number = _number(path)
    return (-1 if number is None else number), path.name == f"version_{number}"


def _number(path: Path) -> int | None:
    """Number of a run from its record, or else from its name."""
    number = _record(path).get("number")
    return number if isinstance(number, int) and 0 <= number < 2**31 else _number_of(path.name)


def _number_of(name: str) -> int | None:
    match = re.fullmatch(r"version_([0-9]{1,9})", name)
    return int(match[1]) if match else None


def _record(path: Path) -> dict[str, Any]:
    """The content of ``run.json``; empty if it is missing or malformed."""
    file = path / RECORD
    try:
        if file.is_symlink() or not file.is_file() or file.stat().st_size > LARGEST_RECORD:
            return {}
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    plain = (str, int, float, type(None))
    is_plain = isinstance(record, dict) and all(isinstance(value, plain) for value in record.values())
    return record if is_plain else {}


def _without_links(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)
