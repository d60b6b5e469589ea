"""Many trainings and their tests, each in a process of its own."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from types import FrameType

from lightning_flows.errors import DataError, UsageError
from lightning_flows.remaining import Remaining
from lightning_flows.tables.runs import TESTS


class Trainings:
    """Trains and tests configs with several seeds; what is tested already is left alone.

    A process for each run shares neither memory nor seeds with the others. What it and they tell goes to the standard
    error. SIGTERM stops all of them, each with a checkpoint from which the next call goes on; Ctrl-C in a terminal
    reaches them by itself.

    Args:
        runs: folder of the runs.
        overlays: configs on top of each.
        pictures: folder or tar of pictures to train on instead of the overlay's.
        jobs: runs at once, which share the CPU's cores.
    """

    def __init__(self, runs: Path, *, overlays: Sequence[str], pictures: str | None, jobs: int) -> None:
        self.runs, self.overlays, self.pictures, self.jobs = runs, overlays, pictures, jobs
        self._processes: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def folder(self, config: str, seed: int) -> Path:
        """Of a run; other settings are other runs."""
        parts = [config, *self.overlays, *([self.pictures] if self.pictures else [])]
        return self.runs / f"{'_'.join(Path(part).stem for part in parts)}_seed{seed}"

    def run(self, configs: Sequence[str], seeds: Sequence[int]) -> None:
        """Train and test what is missing; one that fails keeps the rest from starting.

        Raises: UsageError or DataError if one fails; SystemExit on SIGTERM.
        """
        every = dict.fromkeys((config, seed) for seed in seeds for config in configs)
        todo = [(config, seed) for config, seed in every if not _is_tested(self.folder(config, seed))]
        remaining = Remaining()
        remaining.text(0.0)

        def fit_and_test(i: int) -> None:
            config, seed = todo[i]
            _tell(f"run {i + 1} of {len(todo)}: {config}, seed {seed}")
            self._fit_and_test(config, seed)

        main = threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGTERM, self._stop) if main else None
        try:
            with ThreadPoolExecutor(self.jobs) as pool:
                started = [pool.submit(fit_and_test, i) for i in range(len(todo))]
                try:
                    for done, future in enumerate(as_completed(started), 1):
                        future.result()
                        _tell(f"{done} of {len(todo)} runs done, {remaining.text(done / len(todo))}")
                finally:
                    pool.shutdown(wait=False, cancel_futures=True)
        finally:
            if main:
                signal.signal(signal.SIGTERM, before or signal.SIG_DFL)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopped = True
        for process in list(self._processes):
            process.terminate()
        raise SystemExit(128 + number)

    def _fit_and_test(self, config: str, seed: int) -> None:
        folder = self.folder(config, seed)
        if _is_tested(folder):
            return  # meanwhile, by another process
        logger = "--trainer.logger.init_args"
        options = [f"--config={file}" for file in (config, *self.overlays)]
        options += ["--data=ImageFolder", f"--data.init_args.root={self.pictures}"] if self.pictures else []
        options += [f"--seed_everything={seed}", f"{logger}.save_dir={self.runs}", f"{logger}.name={folder.name}"]
        self._run(folder.name, "fit", *options, "--ckpt_path=last")
        best = max(folder.glob("version_*/checkpoints/best.ckpt"), key=os.path.getmtime, default=None)
        if best is None:
            raise DataError(f"expected a checkpoint below {folder}; got none: look at what fit printed")
        self._run(folder.name, "test", f"--ckpt_path={best}")

    def _run(self, name: str, *args: str) -> None:
        """Alone a process has the terminal; of several at once each line begins with the run's name."""
        threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // self.jobs))} if self.jobs > 1 else {}
        process = subprocess.Popen(
            [sys.executable, "-m", "lightning_flows", *args],
            env=os.environ | threads,
            stdout=2 if self.jobs == 1 else subprocess.PIPE,
            stderr=None if self.jobs == 1 else subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        with process:
            self._processes.add(process)
            if self._stopped:  # between two processes
                process.terminate()
            for line in process.stdout or ():
                _tell(f"{name}: {line.rstrip()}")
        self._processes.discard(process)
        if process.returncode or self._stopped:
            raise UsageError(f"`{args[0]}` of {name} ended with status {process.returncode}: what it printed tells why")


def _is_tested(folder: Path) -> bool:
    return any(folder.glob(f"version_*/{TESTS}"))


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
