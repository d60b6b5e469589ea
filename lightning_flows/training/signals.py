"""Signal handling: exit immediately if possible, by force if the process hangs."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import cast

ENDING = (signal.SIGTERM, signal.SIGINT)
NUDGE = signal.SIGURG
"""Interrupts a system call of the main thread, so that handlers run; it has no effect of its own."""

PARENT = "LIGHTNING_FLOWS_PARENT"
"""Environment variable: id of the process that started this one as part of a run."""

GRACE = "LIGHTNING_FLOWS_GRACE"
"""Environment variable: seconds without CPU time after which a signaled process is forced to exit."""

SECONDS, SECONDS_IN_TRAINING = 15.0, 600.0
"""Defaults. A process that finishes its training step may wait for a disk, or for another process to draw samples."""

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK", "GROUP_RANK")
"""Environment variables with which launchers number the processes of a run."""


class Interrupted(SystemExit):
    """Raised to exit on a signal; ``code`` is the exit status, by default 128 + the signal number.

    ``is_reported`` says that its reason has been printed.
    """

    def __init__(self, number: int, code: int | None = None, *, is_reported: bool = False) -> None:
        super().__init__(128 + number if code is None else code)
        self.number, self.is_reported = number, is_reported


def interrupt(number: int, frame: FrameType | None = None) -> None:
    """Signal handler that raises :class:`Interrupted` in the main thread."""
    raise Interrupted(number)


def end_at_once(number: int, frame: FrameType | None = None) -> None:
    """Signal handler for a process that has nothing to save."""
    os.write(2, f"{ended_by(number)}\n".encode())
    os._exit(128 + number)


def ended_by(number: int) -> str:
    """Return the message for a process that exits on a signal."""
    return f"stopped by {name_of(number)}: nothing more is written"


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Make SIGTERM and Ctrl-C end the block with :class:`Interrupted`, even if it hangs.

    Python runs signal handlers between two bytecodes of the main thread, which may block in a collective or a data
    loader and never get there. So a second thread watches for signals too. It interrupts a call in which the main
    thread blocks, since a signal just before the call, or in another thread, does not. It exits the process with
    status 128 + number and one line if, after a signal, the process uses no CPU time for ``LIGHTNING_FLOWS_GRACE``
    seconds (an environment variable; default: 15, or 600 while a handler of its own finishes a training step), or if a
    second Ctrl-C is ignored for two seconds. A process whose parent in the same run has exited sends itself SIGTERM.
    Does nothing outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, interrupt) for number in ENDING}
    before[NUDGE] = signal.signal(NUDGE, _ignore)
    read, write = os.pipe()
    os.set_blocking(write, False)
    wakeup = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    parent, own = os.environ.get(PARENT), str(os.getppid())
    os.environ[PARENT] = str(os.getpid())
    threading.Thread(target=_watch, args=(read,), daemon=True).start()
    if parent == own:
        threading.Thread(target=_follow_parent, args=(int(parent),), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        os.close(write)  # stops the thread, which closes the other end
        if parent is None:
            os.environ.pop(PARENT, None)
        else:
            os.environ[PARENT] = parent
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def end_children() -> None:
    """Kill the processes that this one started as part of its run, including stopped ones.

    Only Linux lists them; elsewhere they exit when they notice that their parent is gone. Trackers of shared resources
    are left to do that, since they release what the others held.
    """
    mark = f"{PARENT}={os.getpid()}\0".encode()
    for file in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        with suppress(OSError):
            for child in file.read_text().split():
                environment, command = (Path(f"/proc/{child}/{name}").read_bytes() for name in ("environ", "cmdline"))
                if mark in environment and b"resource_tracker" not in command:
                    os.kill(int(child), signal.SIGKILL)


def is_first_process() -> bool:
    """Whether this is the first process of its run, by the launcher's environment; needs no process group."""
    return all(os.environ.get(key) in (None, "", "0") for key in RANKS)


def name_of(number: int) -> str:
    """Name of a signal for messages."""
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def _grace(number: int) -> float:
    default = SECONDS if signal.getsignal(number) is interrupt else SECONDS_IN_TRAINING
    try:
        return max(0.1, float(os.environ.get(GRACE, default)))
    except ValueError:
        return default


def _ignore(number: int, frame: FrameType | None) -> None:
    """A handler that only makes blocking calls return, unlike SIG_IGN."""


def _watch(read: int) -> None:
    """Wait for a signal, then watch whether the process makes progress toward its exit."""
    with os.fdopen(read, "rb", buffering=0) as pipe:
        while (number := pipe.read(1)) and number[0] not in ENDING:
            pass
        if not number:
            return
        os.set_blocking(read, False)
        time.sleep(0.1)
        signal.pthread_kill(cast(int, threading.main_thread().ident), NUDGE)
        idle_since = second = None
        used, looked = time.process_time(), time.monotonic()
        while True:
            time.sleep(0.1)
            more = pipe.read(16)
            if more == b"":  # the other end is closed: the block has ended
                return
            now = time.monotonic()
            if more and signal.SIGINT in more:
                second = second or now
            if now - looked >= 1:  # busy: more than 2 % of a core
                busy = time.process_time() - used > 0.02 * (now - looked)
                used, looked = time.process_time(), now
                idle_since = None if busy else idle_since or now
            if (second and now - second > 2) or (idle_since and now - idle_since > _grace(number[0])):
                _end_by_force(number[0])


def _end_by_force(number: int) -> None:
    with suppress(OSError, ValueError):
        print(
            f"error: ended by {name_of(number)} while waiting for another process of the run or for a data loading "
            "worker that does not respond; earlier checkpoints are complete",
            file=sys.stderr,
            flush=True,
        )
    end_children()
    for process in multiprocessing.active_children():  # those forked without their own environment
        process.kill()
    os._exit(128 + number)


def _follow_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)
