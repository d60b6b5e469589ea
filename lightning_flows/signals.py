"""Ending a process that was asked to end: at once where it can, by force where it hangs."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGINT)
PARENT = "LIGHTNING_FLOWS_PARENT"
"""Environment variable: id of the process that started this one as part of a run."""

GRACE = "LIGHTNING_FLOWS_GRACE"
"""Environment variable: seconds without CPU time after which a process that was asked to end is ended by force."""


class Interrupted(SystemExit):
    """A process that was asked to end and does; ``code`` is its exit status, 128 + the signal's number unless given."""

    def __init__(self, number: int, code: int | None = None) -> None:
        super().__init__(128 + number if code is None else code)
        self.number = number


def interrupt(number: int, frame: FrameType | None = None) -> None:
    """Signal handler that ends whatever the main thread is at."""
    raise Interrupted(number)


def end_at_once(number: int, frame: FrameType | None = None) -> None:
    """Signal handler for a process that has nothing to put away yet, or no longer."""
    os.write(2, f"{ended_by(number)}\n".encode())
    os._exit(128 + number)


def ended_by(number: int) -> str:
    """What to tell of a process that was asked to end and has."""
    return f"stopped by {name_of(number)}: nothing more is written"


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and Ctrl-C end what runs inside with :class:`Interrupted`, whatever it waits for.

    Python runs a signal's handler between two bytecodes of the main thread, which may wait within a collective or for a
    data loader and never come to the next. So a second thread counts signals as well. It ends the process with the
    status 128 + number and one line when, after a signal, the process has used no CPU time for as many seconds as the
    environment variable ``LIGHTNING_FLOWS_GRACE`` says (15), or when a second Ctrl-C has been ignored for two. A
    process whose parent in the same run is gone sends itself SIGTERM. Does nothing outside of the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, interrupt) for number in ENDING}
    read, write = os.pipe()
    os.set_blocking(write, False)
    wakeup = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    parent, own = os.environ.get(PARENT), str(os.getppid())
    os.environ[PARENT] = str(os.getpid())
    threading.Thread(target=_watch, args=(read, _grace()), daemon=True).start()
    if parent == own:
        threading.Thread(target=_follow_parent, args=(int(parent),), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        os.close(write)  # ends the thread, which closes the other end
        if parent is None:
            os.environ.pop(PARENT, None)
        else:
            os.environ[PARENT] = parent
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def end_children() -> None:
    """Kill the processes that this one started as part of its run, a stopped one too.

    Linux lists them; elsewhere they follow their parent.
    """
    mark = f"{PARENT}={os.getpid()}\0".encode()
    for file in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        with suppress(OSError):
            for child in file.read_text().split():
                if mark in Path(f"/proc/{child}/environ").read_bytes():
                    os.kill(int(child), signal.SIGKILL)


def name_of(number: int) -> str:
    """What ended a process, in a few words."""
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def _grace() -> float:
    try:
        return max(0.1, float(os.environ.get(GRACE, 15)))
    except ValueError:
        return 15.0


def _watch(read: int, grace: float) -> None:
    """Wait for signals; after one, look whether the process goes on to its end."""
    with os.fdopen(read, "rb", buffering=0) as pipe:
        while (number := pipe.read(1)) and number[0] not in ENDING:
            pass
        if not number:
            return
        os.set_blocking(read, False)
        idle_since = second = None
        used, looked = time.process_time(), time.monotonic()
        while True:
            time.sleep(0.1)
            more = pipe.read(16)
            if more == b"":  # the other end is closed: it has come to its end
                return
            now = time.monotonic()
            if more and signal.SIGINT in more:
                second = second or now
            if now - looked >= 1:  # busy means more than 2 % of a core
                busy = time.process_time() - used > 0.02 * (now - looked)
                used, looked = time.process_time(), now
                idle_since = None if busy else idle_since or now
            if (second and now - second > 2) or (idle_since and now - idle_since > grace):
                _end_by_force(number[0])


def _end_by_force(number: int) -> None:
    with suppress(OSError, ValueError):
        print(
            f"error: ended by {name_of(number)} while waiting for what does not answer, such as another process of the "
            "run or a process that loads data; checkpoints written so far are whole",
            file=sys.stderr,
            flush=True,
        )
    end_children()
    os._exit(128 + number)


def _follow_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)
