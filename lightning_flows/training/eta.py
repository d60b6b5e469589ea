"""Progress of a run and the time remaining."""

import time
from collections.abc import Callable
from datetime import timedelta

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Timer


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


def fit_share(trainer: Trainer, batches: int) -> float | None:
    """Share of a training that is done, by the first of its limits on epochs, steps and time that will be reached.

    None without such a limit.

    Args:
        batches: number of batches done in the current epoch.
    """
    shares = []
    if trainer.max_epochs and trainer.max_epochs > 0:
        of_epoch = batches / trainer.num_training_batches  # 0 for an infinite loader
        shares.append((trainer.current_epoch + of_epoch) / trainer.max_epochs)
    if trainer.max_steps > 0:
        shares.append(trainer.global_step / trainer.max_steps)
    for timer in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(timer, Timer) and (left := timer.time_remaining()) is not None:
            shares.append(timer.time_elapsed() / (timer.time_elapsed() + left))
    return min(1.0, max(shares)) if shares else None
