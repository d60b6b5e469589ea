"""Progress of commands: a bar on a terminal, lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, Self

SECONDS = 5.0
"""Minimum time between lines."""


class Remaining:
    """Time remaining as text, extrapolated from the pace since the first call.

    Empty at the first call, and until there is progress.

    >>> clock = Remaining(now=lambda: 100.0)
    >>> clock.text(0.2)
    ''
    >>> clock.now = lambda: 110.0
    >>> clock.text(0.4)
    '0:00:30 left'
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self._first: tuple[float, float] | None = None

    def text(self, share: float) -> str:
        """Time remaining when ``share`` of the work is done."""
        if self._first is None:
            self._first = self.now(), share
        start, done_before = self._first
        if share <= done_before:
            return ""
        seconds = (self.now() - start) * (1 - share) / (share - done_before)
        return f"{timedelta(seconds=round(seconds))} left"


class Lines:
    """Progress as lines on standard error, for logs: at most one in five seconds, and none for shorter work.

    It has the methods of tqdm's bar that are used here.

    Args:
        items: what is iterated over, if anything.
        desc: what is done.
        total: number of steps; default: that of the items, if known.
        now: clock in seconds.

    >>> ticks = iter([0, 1, 1, 7, 7, 8])
    >>> lines = Lines(desc="sampling", total=4, now=lambda: next(ticks))
    >>> import contextlib, sys
    >>> with contextlib.redirect_stderr(sys.stdout):
    ...     lines.update(1), lines.update(2), lines.update(1)
    sampling: 75 %, 0:00:02 left
    sampling: 100 %
    (None, None, None)
    """

    def __init__(
        self,
        items: Iterable[Any] | None = None,
        *,
        desc: str,
        total: int | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        length = getattr(items, "__len__", None)
        self.items, self.desc, self.now = items, desc, now
        self.total = length() if total is None and length is not None else total
        self.done, self.printed, self.remaining = 0, False, Remaining(now)
        self.last = now()
        self.remaining.text(0.0)

    def update(self, num: int = 1) -> None:
        """Count steps that are done."""
        self.done += num
        finished = self.done == self.total
        if (now := self.now()) - self.last < SECONDS and not (finished and self.printed):
            return
        self.last, self.printed = now, True
        share = min(1.0, self.done / self.total) if self.total else None
        left = "" if share is None or finished else self.remaining.text(share)
        text = f"{self.done}" if share is None else f"{int(100 * share)} %"
        print(f"{self.desc}: {', '.join(filter(None, (text, left)))}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Do nothing: each line is complete."""

    def __iter__(self) -> Iterator[Any]:
        for item in self.items or ():
            yield item
            self.update()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def progress(
    items: Iterable[Any] | None = None,
    *,
    desc: str,
    unit: str,
    total: int | None = None,
    delay: float = 0.0,
    leave: bool = True,
    quiet: bool = False,
) -> Any:
    """Iterate over items, or count steps with ``update``, and show how many are done.

    Args:
        items: what to iterate over.
        desc: what is done, such as ``sampling``.
        unit: name of a step.
        total: number of steps; default: that of the items.
        delay: seconds before a bar appears.
        leave: keep the bar on the terminal.
        quiet: show nothing.

    >>> list(progress([1, 2], desc="counting", unit="number"))
    [1, 2]
    """
    from tqdm import tqdm  # on demand: help needs none

    if quiet or sys.stderr.isatty():
        return tqdm(items, desc, total, leave=leave, unit=unit, delay=delay, disable=quiet)
    return Lines(items, desc=desc, total=total)
