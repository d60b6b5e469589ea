"""The folder of a run: of its own, with one owner at a time."""

import fcntl
import json
import os
import re
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from lightning_flows.errors import CheckpointError, OutputError
from lightning_flows.files import check_writable, replaced

LOCK, RECORD = ".lock", "run.json"
"""Files in a run folder: held open by its owner, and what this module keeps about the run."""

LAST = Path("checkpoints/last.ckpt")
LARGEST_RECORD = 65536  # bytes


class RunFolder:
    """A folder ``version_N``, which one process at a time owns.

    The number N is one above all earlier ones, and the folder is made in one move, so that two runs never share one.
    An owner holds a lock on the file ``.lock``, which ends with its process. ``run.json`` keeps the number, a random
    id, by which copies are known, and the state: running, stopped, failed or finished.

    Args:
        path: the folder; see :meth:`create` for a new one.
    """

    def __init__(self, path: Path, number: int | None = None) -> None:
        self.path, self.is_new = path, False
        self._number = number
        self._lock: IO[str] | None = None

    @classmethod
    def create(cls, parent: Path, name: str | None = None, *, beside: Iterable[Path] = ()) -> "RunFolder":
        """Make and own a new folder below ``parent``: ``name``, or ``version_N`` with an N that is new ``beside`` too.

        Raises: OutputError if it cannot be made, or if ``name`` holds files already.
        """
        check_writable(parent)
        if name is not None:
            run = cls(parent / name, _number_of(name))
            if run.path.exists() and any(run.path.iterdir()):
                raise OutputError(
                    f"{run.path} holds files of another run, which are kept: give another trainer.logger version, or "
                    "resume by --ckpt_path=last"
                )
            run.path.mkdir(parents=True, exist_ok=True)
        else:
            run = cls._next(parent, beside)
        run.is_new = True
        run.acquire()
        return run

    @classmethod
    def _next(cls, parent: Path, beside: Iterable[Path]) -> "RunFolder":
        folders = [path for each in (parent, *beside) for path in _folders(each)]
        number = 1 + max((n for path in folders if (n := _number(path)) is not None), default=-1)
        while True:
            path = parent / f"version_{number}"
            with suppress(FileExistsError):
                path.mkdir()
                return cls(path, number)
            number += 1

    def acquire(self) -> None:
        """Own the folder until :meth:`release` or the end of the process.

        Raises: OutputError if another one does, or a link leads out of the folder, as a run writes to what is there.
        """
        inside = self.path.resolve()
        for path in (*self.path.iterdir(), *self.path.glob("*/*")):
            if path.is_symlink() and inside not in path.resolve().parents:
                raise OutputError(
                    f"{path} is a link that leads out of the run's folder: replace it by what it leads to"
                )
        file = open(self.path / LOCK, "a+", opener=_without_links)  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            owner = re.sub(r"\D", "", file.read(32))
            file.close()
            raise OutputError(
                f"{self.path} belongs to a run that is going on (process {owner or 'unknown'}): wait for its end, or "
                "start a run of its own without --ckpt_path=last"
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._lock = file
        os.register_at_fork(after_in_child=file.close)  # a process that loads data must not hold the lock
        self.note("running")

    def note(self, state: str) -> None:
        """Keep what became of the run."""
        record = {"id": uuid.uuid4().hex, "number": self._number, "started": time.time()} | _record(self.path)
        with replaced(self.path / RECORD) as file:
            file.write(f"{json.dumps(record | {'state': state})}\n".encode())

    def release(self, state: str) -> None:
        """Note the state and leave the folder to others."""
        if self._lock is not None:
            with suppress(OutputError):
                self.note(state)
            self._lock.close()
            self._lock = None

    def drop(self) -> None:
        """Remove the folder of a run that ended before its data were read, unless it holds more than empty curves."""
        files = list(self.path.iterdir()) if self.path.is_dir() else []
        empty = ("events.out.tfevents", "hparams.yaml", "metrics.csv", LOCK, RECORD)
        if self.is_new and all(file.name.startswith(empty) and not file.is_dir() for file in files):
            for file in files:
                file.unlink()
            with suppress(OSError):  # the folders above hold other runs
                self.path.rmdir()
                self.path.parent.rmdir()


def newest(parent: Path) -> tuple[Path | None, list[str]]:
    """The newest run below a folder with a ``last.ckpt``, and a sentence on each that is passed over.

    A renamed run is known by its record, and a copy, which has the id of another run, is left alone.

    Raises: CheckpointError where it cannot be told which run is the newest.
    """
    found = sorted((path for path in _folders(parent) if (path / LAST).is_file()), key=_order)
    if not found:
        return None, []
    by_id: dict[Any, Path] = {}
    remarks = []
    for path in found:  # of a run and its copies the one of the right name is the last
        identity = _record(path).get("id", path.name)
        if identity in by_id:
            remarks.append(f"{by_id[identity]} is a copy of {path} and is left alone")
        by_id[identity] = path
    runs = sorted(by_id.values(), key=_order)
    last = [path for path in runs if _number(path) == _number(runs[-1])]
    if len(last) > 1:
        raise CheckpointError(
            f"it cannot be told which of {_listed(last)} is the newest run: name its checkpoint by --ckpt_path FILE"
        )
    remarks += [
        f"{path} has no number and is left alone: name its checkpoint by --ckpt_path FILE to resume it"
        for path in runs[:-1]
        if _number(path) is None
    ]
    return runs[-1], remarks


def was_finished(folder: Path) -> bool:
    """Whether a run came to its end; one without a record, of an earlier version, counts as such."""
    return _record(folder).get("state", "finished") == "finished"


def _folders(parent: Path) -> list[Path]:
    try:
        return [path for path in parent.iterdir() if path.is_dir() and not path.is_symlink()]
    except OSError:
        return []


def _order(path: Path) -> tuple[int, bool]:
    number = _number(path)
    return (-1 if number is None else number), path.name == f"version_{number}"


def _number(path: Path) -> int | None:
    """Number of a run by its record, else by its name."""
    number = _record(path).get("number")
    return number if isinstance(number, int) and 0 <= number < 2**31 else _number_of(path.name)


def _number_of(name: str) -> int | None:
    match = re.fullmatch(r"version_([0-9]{1,9})", name)
    return int(match[1]) if match else None


def _record(path: Path) -> dict[str, Any]:
    """What ``run.json`` says; nothing where it says nothing that makes sense."""
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


def _listed(paths: Iterable[Path]) -> str:
    return " and ".join(map(str, paths))


def _without_links(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)
