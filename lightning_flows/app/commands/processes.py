"""Processes of the application, stopped together by a signal."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from lightning_flows.app.terminal import plain
from lightning_flows.errors import UsageError

STOPS = (signal.SIGTERM, signal.SIGINT)
KILL_AFTER = 60.0
"""Seconds after a signal within which runs must write a checkpoint and exit."""


class Processes:
    """Runs commands of the application, several at a time, all of whose output goes to standard error.

    Within :meth:`listening`, SIGTERM and Ctrl-C stop all processes; those still alive after a minute, or at a second
    signal, are killed.

    Args:
        jobs: number of parallel processes, which share the CPU cores.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped_by: int | None = None
        self._killed = False
        self._timer: threading.Timer | None = None

    @property
    def stopped(self) -> bool:
        """Whether a signal arrived."""
        return self._stopped_by is not None

    @property
    def threads(self) -> int | None:
        """Threads of each of several processes; None for a single one, which takes the usual number."""
        return max(1, (os.cpu_count() or 1) // self.jobs) if self.jobs > 1 else None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle signals, if this is the main thread.

        If one arrives, the previous handler is called when the block exits, and determines how this process ends.
        """
        self._stopped_by, self._killed = None, False
        main = threading.current_thread() is threading.main_thread()
        before: dict[int, Any] = {number: signal.signal(number, self._stop) for number in STOPS} if main else {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)
            if self._timer is not None:
                self._timer.cancel()  # it would kill the processes of another block
            if self._stopped_by is not None:
                if callable(handler := before[self._stopped_by]):
                    handler(self._stopped_by, None)
                raise SystemExit(128 + self._stopped_by)

    def run(self, name: str, *args: str) -> int:
        """Run a command and return its status: a single one uses the terminal, parallel ones prefix their output.

        Raises: UsageError if it was stopped, or not started.
        """
        if self.stopped:  # a thread may take the next run before the rest are canceled
            raise UsageError(f"`{args[0]}` of {name} was not started")
        process = subprocess.Popen(
            [sys.executable, "-m", "lightning_flows", *args],
            env=os.environ | ({"OMP_NUM_THREADS": str(self.threads)} if self.threads else {}),
            stdout=2 if self.jobs == 1 else subprocess.PIPE,
            stderr=None if self.jobs == 1 else subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        with process:
            self._running.add(process)
            if self.stopped:  # between two processes
                process.kill() if self._killed else process.terminate()
            for line in process.stdout or ():
                say(f"{name}: {line.rstrip()}")
        self._running.discard(process)
        if self.stopped:
            raise UsageError(f"`{args[0]}` of {name} was stopped")
        return process.returncode

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Terminate all processes; at a second signal, or after a timeout, kill those still alive.

        They always get SIGTERM: Ctrl-C in a terminal reaches them too, and a second one would lose their checkpoint.
        Does not raise: the pool would not wait for a thread that it is just starting, nor for the thread's process.
        """
        if self.stopped:
            self._kill()
            return
        self._stopped_by = number
        for process in list(self._running):
            process.terminate()
        self._timer = threading.Timer(KILL_AFTER, self._kill)
        self._timer.daemon = True
        self._timer.start()

    def _kill(self) -> None:
        self._killed = True
        for process in list(self._running):
            process.kill()


def say(text: str) -> None:
    """Print a line on standard error; see :func:`plain`."""
    sys.stderr.write(f"{plain(text)}\n")  # in one write: several threads print
    sys.stderr.flush()
