"""A DataLoader for resumable runs, whose time limit also applies to stopped workers."""

import threading
import time
from collections.abc import Iterator
from multiprocessing import active_children
from multiprocessing.process import BaseProcess
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader

from lightning_flows.errors import DataError


class TimedLoader(DataLoader[dict[str, Tensor]]):
    """DataLoader that starts sampling when the first batch is requested, and kills workers that time out.

    When a run is resumed, Lightning creates the iterator before it restores epoch and batch, and workers would prefetch
    the wrong batches. DataLoader's own ``timeout`` does not cover the transfer of a batch, where a stopped worker
    would block it forever.

    Raises: DataError if no batch arrives within ``worker_timeout`` seconds; 0: no limit.
    """

    def __init__(self, *args: Any, worker_timeout: float = 0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.worker_timeout = worker_timeout
        self.workers: list[BaseProcess] = []

    def __iter__(self) -> Iterator[dict[str, Tensor]]:  # type: ignore[override]
        others = active_children()
        batches = super().__iter__()
        started = [process for process in active_children() if process not in others]
        self.workers = started or self.workers  # persistent workers were started earlier
        if self.num_workers == 0 or not self.worker_timeout:
            yield from batches
            return
        while (batch := self._next(batches)) is not None:
            yield batch

    def _next(self, batches: Iterator[dict[str, Tensor]]) -> dict[str, Tensor] | None:
        late = threading.Event()

        def end() -> None:
            late.set()
            for worker in self.workers:
                worker.kill()  # a stopped process ignores other signals; its exit wakes the main thread

        timer = threading.Timer(self.worker_timeout, end)
        timer.daemon = True
        timer.start()
        try:
            return next(batches, None)
        except Exception as error:
            if not late.is_set():
                raise
            self._wait_for_end()
            raise DataError(
                f"DataLoader timed out after {self.worker_timeout:g} seconds: use fewer --data.num_workers, or a "
                "larger --data.worker_timeout (0: no limit)"
            ) from error
        finally:
            timer.cancel()

    def _wait_for_end(self) -> None:
        """Wait until the killed processes are gone and torch has noticed, for which it raises an error."""
        for _ in self.workers:
            try:
                for worker in self.workers:
                    worker.join()
                time.sleep(0.01)
            except RuntimeError:
                continue  # raised by torch
            return
