"""Train and test many runs, each in its own process."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import FrameType
from typing import Any

from lightning_flows.app.commands.experiments import Experiment
from lightning_flows.app.configs import load_configs
from lightning_flows.app.yaml_text import load_yaml
from lightning_flows.errors import DataError, UsageError
from lightning_flows.reporting.tables.runs import TESTS, Run, read_run
from lightning_flows.training.eta import Remaining
from lightning_flows.training.run_folder import RECORD, state_of

STOPS = (signal.SIGTERM, signal.SIGINT)
KILL_AFTER = 15.0
"""Seconds after a signal within which runs must write a checkpoint and exit."""


class Trainings:
    """Trains and tests experiments with several seeds; runs that are already tested are skipped.

    Each run has its own process, so that runs share neither memory nor random state. All output goes to standard error.
    SIGTERM and Ctrl-C stop all processes; each writes a checkpoint from which the next call resumes. Those still alive
    after 15 seconds, or at a second signal, are killed.

    Args:
        runs: folder of the runs.
        experiments: experiments to train, by name.
        overlays: configs on top of each experiment; by default those that reduce it, if any.
        images: folder or archive of images to train on instead of the experiment's.
        jobs: parallel runs, which share the CPU cores.
    """

    def __init__(
        self,
        runs: Path,
        experiments: Mapping[str, Experiment],
        *,
        overlays: Sequence[str] | None = None,
        images: str | None = None,
        jobs: int = 1,
    ) -> None:
        self.runs, self.experiments = runs, experiments
        self.overlays, self.images, self.jobs = overlays, images, jobs
        self._processes: set[subprocess.Popen[str]] = set()
        self._stopped = self._killed = False
        self._before: dict[int, Any] = {}

    def layers(self, name: str) -> list[str]:
        """Configs and options of an experiment, in order."""
        experiment = self.experiments[name]
        return [*experiment.layers, *(experiment.reduced if self.overlays is None else self.overlays)]

    def folder(self, name: str, seed: int) -> Path:
        """Folder of a run, unique to its settings."""
        reduced = ["cpu"] if self.experiments[name].reduced else []
        parts = [*(reduced if self.overlays is None else self.overlays), *([self.images] if self.images else [])]
        return self.runs / f"{'_'.join([name, *map(_short_name, parts)])}_seed{seed}"

    def run(self, seeds: Sequence[int]) -> None:
        """Train and test the missing runs; after a failure no further run starts.

        Raises: UsageError or DataError if a run fails or is stopped, or if a folder contains a run with other settings;
            on a signal, the exception of the previous handler, or SystemExit.
        """
        every = dict.fromkeys((name, seed) for seed in seeds for name in self.experiments)
        todo = [(name, seed) for name, seed in every if not self._is_tested(name, seed)]
        remaining = Remaining()
        remaining.text(0.0)

        def fit_and_test(i: int) -> None:
            name, seed = todo[i]
            if self._stopped:
                return
            _print(f"run {i + 1} of {len(todo)}: {name}, seed {seed}")
            self._fit_and_test(name, seed)

        main = threading.current_thread() is threading.main_thread()
        self._before = {int(number): signal.signal(number, self._stop) for number in STOPS} if main else {}
        try:
            with ThreadPoolExecutor(self.jobs) as pool:
                started = [pool.submit(fit_and_test, i) for i in range(len(todo))]
                try:
                    for done, future in enumerate(_as_completed(started), 1):
                        future.result()
                        _print(f"{done} of {len(todo)} runs done, {remaining.text(done / len(todo))}")
                finally:
                    pool.shutdown(wait=False, cancel_futures=True)
        finally:
            for number, handler in self._before.items():
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Terminate all processes, then exit; at a second signal, or after a timeout, kill those still alive.

        They always get SIGTERM: Ctrl-C in a terminal reaches them too, and a second one would lose their checkpoint.
        """
        if self._stopped:
            self._kill()
            return
        self._stopped = True
        for process in list(self._processes):
            process.terminate()
        timer = threading.Timer(KILL_AFTER, self._kill)
        timer.daemon = True
        timer.start()
        before = self._before.get(number)
        if callable(before):
            before(number, frame)
        raise SystemExit(128 + number)

    def _kill(self) -> None:
        self._killed = True
        for process in list(self._processes):
            process.kill()

    def _fit_and_test(self, name: str, seed: int) -> None:
        folder = self.folder(name, seed)
        if self._is_tested(name, seed):
            return  # another process did it in the meantime
        logger = "--trainer.logger.init_args"
        options = [layer if layer.startswith("--") else f"--config={layer}" for layer in self.layers(name)]
        options += ["--data=ImageFolderDataModule", f"--data.init_args.root={self.images}"] if self.images else []
        options += [f"--seed_everything={seed}", f"{logger}.save_dir={self.runs}", f"{logger}.name={folder.name}"]
        self._run(folder.name, "fit", *options, "--ckpt_path=last")
        if (state := _state(folder)) != "finished":
            raise UsageError(f"`fit` of {folder.name} is {state}, not finished: rerun the command to resume")
        best = max(folder.glob("version_*/checkpoints/best.ckpt"), key=os.path.getmtime, default=None)
        if best is None:
            raise DataError(f"there is no checkpoint below {folder}: see the output of fit")
        self._run(folder.name, "test", f"--ckpt_path={best}", *self.experiments[name].test)

    def _run(self, name: str, *args: str) -> None:
        """Run a command: a single one uses the terminal, the output of parallel ones is prefixed with the run."""
        if self._stopped:  # a thread may take the next run before the rest are canceled
            raise UsageError(f"`{args[0]}` of {name} was not started")
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
                process.kill() if self._killed else process.terminate()
            for line in process.stdout or ():
                _print(f"{name}: {line.rstrip()}")
        self._processes.discard(process)
        if self._stopped:
            raise UsageError(f"`{args[0]}` of {name} was stopped")
        if process.returncode:
            raise UsageError(f"`{args[0]}` of {name} ended with status {process.returncode}: see its output")

    def _is_tested(self, name: str, seed: int) -> bool:
        """Whether a run is finished and its best checkpoint is tested.

        Raises: DataError if the run is damaged, or was trained with other settings, so that its results would be
        attributed to the wrong experiment.
        """
        for path in sorted(self.folder(name, seed).glob(f"version_*/{TESTS}")):
            run = read_run(path.parent) if state_of(path.parent) == "finished" else None
            if run is not None and run.test.get("checkpoint") == "best.ckpt":
                self._check_settings(run, name, seed)
                return True
        return False

    def _check_settings(self, run: Run, experiment: str, seed: int) -> None:
        layers = self.layers(experiment)
        wanted = _settings(load_configs(*(layer for layer in layers if not layer.startswith("--"))))
        options = [layer[2:].partition("=") for layer in layers if layer.startswith("--")]
        wanted |= {name: load_yaml(value, name) for name, _, value in options}
        wanted |= {"seed_everything": seed}
        found = _settings(run.config)
        ignored = ("trainer.logger", "trainer.callbacks", *(["data."] if self.images else []))
        for key, value in wanted.items():
            of_run = found.get(key, found.get(f"{key}.class_path"))  # an option may give a class without arguments
            if not key.startswith(ignored) and _differ(value, of_run):
                raise DataError(
                    f"{run.folder} is not a run of {experiment}: its {key} is {of_run}, not {value}; move "
                    "it, or choose another folder with --runs"
                )


def _as_completed(futures: Iterable[Future[None]]) -> Iterator[Future[None]]:
    """Yield futures as they complete; wakes up every second, to handle signals that reached another thread."""
    pending = set(futures)
    while pending:
        done, pending = wait(pending, timeout=1.0, return_when=FIRST_COMPLETED)
        yield from done


def _short_name(layer: str) -> str:
    """Name of a config, archive or option in the name of a folder.

    >>> _short_name("size/cpu.yaml"), _short_name("--optimizer.lr=0.5"), _short_name("--data.root=/my/data")
    ('cpu', 'lr=0.5', 'root=-my-data')
    """
    if not layer.startswith("--"):
        return Path(layer).stem
    key, _, value = layer[2:].partition("=")
    return re.sub(r"[^\w.=-]+", "-", f"{key.rpartition('.')[2]}={value}")


def _settings(config: Any, key: str = "") -> dict[str, Any]:
    """Values of a config by their short names.

    >>> _settings({"model": {"class_path": "A", "init_args": {"flow": {"init_args": {"num_levels": 2}}}}})
    {'model.class_path': 'A', 'model.flow.num_levels': 2}
    """
    if not isinstance(config, dict):
        return {key: config}
    items = {name: f"{key}.{name}".removesuffix(".init_args").lstrip(".") for name in config}
    return {leaf: each for name, part in config.items() for leaf, each in _settings(part, items[name]).items()}


def _differ(wanted: Any, found: Any) -> bool:
    """Whether two plain values differ, regardless of notation; False for other values."""
    if not (isinstance(wanted, int | float | str) and isinstance(found, int | float | str)):
        return False
    try:
        return float(wanted) != float(found)
    except ValueError:  # a class may be named with or without its module
        return str(wanted).rpartition(".")[2] != str(found).rpartition(".")[2]


def _state(folder: Path) -> str:
    """State of the newest run below a folder."""
    newest = max(folder.glob(f"version_*/{RECORD}"), key=os.path.getmtime, default=None)
    return "missing" if newest is None else state_of(newest.parent)


def _print(text: str) -> None:
    sys.stderr.write(f"{text}\n")  # in one write: several threads print
    sys.stderr.flush()
