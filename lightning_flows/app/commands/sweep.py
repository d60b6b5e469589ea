"""Train and test many runs, each in its own process."""

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from lightning_flows.app.commands.estimate import Cost, summary
from lightning_flows.app.commands.experiments import Experiment
from lightning_flows.app.commands.processes import Processes, say
from lightning_flows.app.configs import load_configs
from lightning_flows.app.yaml_text import load_yaml
from lightning_flows.errors import DataError, FlowsError, UsageError
from lightning_flows.progress import Remaining
from lightning_flows.reporting.tables.runs import Run, read_run
from lightning_flows.training.run_folder import DIVERGED, RECORD, state_of

Costs = Callable[[Sequence[str], Sequence[str]], Cost | None]
"""Function from the arguments of ``fit`` and the additional ones of ``test`` to the expected time; None if unknown."""


class Trainings:
    """Trains and tests experiments with several seeds; runs that are already tested are skipped.

    Each run has its own process, so that runs share neither memory nor random state. SIGTERM and Ctrl-C stop all of
    them; each writes a checkpoint from which the next call resumes: see :class:`Processes`.

    A run that diverges, so that its loss is not finite, does not stop the others, and is not trained again, since its
    random numbers would be the same. A run that fails after another has succeeded does not stop the others either: an
    error at the end names it.

    Args:
        runs: folder of the runs.
        experiments: experiments to train, by name.
        overlays: configs on top of each experiment; by default those that reduce it, if any.
        images: folder or archive of images to train on instead of the experiment's.
        jobs: parallel runs, which share the CPU cores.
        costs: estimates the time of a run; by default there is no estimate.
    """

    def __init__(
        self,
        runs: Path,
        experiments: Mapping[str, Experiment],
        *,
        overlays: Sequence[str] | None = None,
        images: str | None = None,
        jobs: int = 1,
        costs: Costs = lambda fit, test: None,
    ) -> None:
        self.runs, self.experiments = runs, experiments
        self.overlays, self.images, self.jobs = overlays, images, jobs
        self.costs, self._processes = costs, Processes(jobs)

    def layers(self, name: str) -> list[str]:
        """Configs and options of an experiment, in order."""
        experiment = self.experiments[name]
        return [*experiment.layers, *(experiment.reduced if self.overlays is None else self.overlays)]

    def folder(self, name: str, seed: int) -> Path:
        """Folder of a run, unique to its settings."""
        reduced = ["cpu"] if self.experiments[name].reduced else []
        parts = [*(reduced if self.overlays is None else self.overlays), *([self.images] if self.images else [])]
        return self.runs / f"{'_'.join([name, *map(_short_name, parts)])}_seed{seed}"

    def options(self, name: str) -> list[str]:
        """Arguments of ``fit`` that all seeds share."""
        options = [layer if layer.startswith("--") else f"--config={layer}" for layer in self.layers(name)]
        images = ["--data=ImageFolderDataModule", f"--data.init_args.root={self.images}"] if self.images else []
        return options + images

    def missing(self, seeds: Sequence[int], *, test: bool = True) -> list[tuple[str, int]]:
        """Runs that are neither finished (without ``test``: trained) nor diverged."""
        every = dict.fromkeys((name, seed) for seed in seeds for name in self.experiments)
        return [each for each in every if not self.diverged(*each) and not self._is_done(*each, test=test)]

    def seconds(
        self, seeds: Sequence[int], *, test: bool = True, trained: Collection[tuple[str, int]] = ()
    ) -> list[float] | None:
        """Expected seconds of each missing run, of those in ``trained`` without training; None if one is unknown."""
        found = []
        for name, seed in self.missing(seeds, test=test):
            cost = self.costs(self.options(name), self.experiments[name].test)
            if cost is None:
                return None
            is_trained = (name, seed) in trained or bool(self.finished(name, seed))
            found.append((0.0 if is_trained else cost.fit) + (cost.test if test else 0.0))
        return found

    def run(self, seeds: Sequence[int], *, test: bool = True, announced: bool = False) -> None:
        """Train and test the missing runs.

        Args:
            seeds: training seeds.
            test: test them as well.
            announced: the expected time has been printed already.

        Raises: UsageError or DataError if a run fails or is stopped, or if a folder contains a run with other settings;
            on a signal, the exception of the previous handler, or SystemExit.
        """
        todo = self.missing(seeds, test=test)
        for name, seed in ((name, seed) for seed in seeds for name in self.experiments if self.diverged(name, seed)):
            say(_of_diverged(self.folder(name, seed)))
        if not todo:
            return
        costs = self.seconds(seeds, test=test)
        if costs is not None and not announced:
            say(summary(len(todo), sum(costs) / self.jobs))
        remaining, weights = Remaining(), costs or [1.0] * len(todo)
        remaining.text(done := 0.0)

        def fit_and_test(i: int) -> None:
            name, seed = todo[i]
            if self._processes.stopped:
                return
            say(f"run {i + 1} of {len(todo)}: {name}, seed {seed}")
            self._fit_and_test(name, seed, test=test)

        with self._processes.listening(), ThreadPoolExecutor(self.jobs) as pool:
            started = {pool.submit(fit_and_test, i): i for i in range(len(todo))}
            failed: list[str] = []
            try:
                for count, future in enumerate(_as_completed(started), 1):
                    if self._processes.stopped:
                        break
                    error = future.exception()
                    if error and (len(failed) + 1 == count or not isinstance(error, FlowsError)):
                        raise error  # no run has succeeded: all may fail in the same way
                    if error:
                        failed.append(str(error))
                        say(f"{error}; the other runs continue")
                    done += weights[started[future]] / sum(weights)
                    say(f"{count} of {len(todo)} runs done, {remaining.text(min(1.0, done))}")
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
                for _ in _as_completed(each for each in started if not each.cancelled()):
                    pass  # signals are handled until all have ended
        if failed:
            raise UsageError(f"{len(failed)} of {len(todo)} runs failed; the first: {failed[0]}")

    def diverged(self, name: str, seed: int) -> bool:
        """Whether a run with these settings ended because its loss was not finite."""
        return any(state_of(run.folder) == DIVERGED for run in self._runs(name, seed))

    def finished(self, name: str, seed: int) -> list[Run]:
        """Finished runs with these settings, in the order of their folders."""
        return [run for run in self._runs(name, seed) if state_of(run.folder) == "finished"]

    def _fit_and_test(self, name: str, seed: int, *, test: bool) -> None:
        folder = self.folder(name, seed)
        if self._is_done(name, seed, test=test):
            return  # another process has done it in the meantime
        if not self.finished(name, seed):
            logger = "--trainer.logger.init_args"
            place = [f"{logger}.save_dir={self.runs}", f"{logger}.name={folder.name}"]
            options = [*self.options(name), f"--seed_everything={seed}", *place]
            status = self._processes.run(folder.name, "fit", *options, "--ckpt_path=last")
            if (state := _state(folder)) == DIVERGED:
                say(_of_diverged(folder))
                return
            _check(status, folder.name, "fit")
            if state != "finished":
                raise UsageError(f"`fit` of {folder.name} is {state}, not finished: rerun the command to resume")
        if test:
            best = self.finished(name, seed)[-1].folder / "checkpoints/best.ckpt"
            if not best.is_file():
                raise DataError(
                    f"there is no {best}, perhaps because training ended before the first validation: change that, and "
                    f"remove {folder}"
                )
            extra = self.experiments[name].test
            _check(self._processes.run(folder.name, "test", f"--ckpt_path={best}", *extra), folder.name, "test")

    def _is_done(self, name: str, seed: int, *, test: bool) -> bool:
        """Whether a run is finished and, if ``test``, its best checkpoint has been tested since, on all items."""
        found = self.finished(name, seed)
        final = [run for run in found if not run.is_tested_early and not run.test.get("is_partial")]
        return bool([run for run in final if run.test.get("checkpoint") == "best.ckpt"] if test else found)

    def _runs(self, name: str, seed: int) -> list[Run]:
        """Finished and diverged runs in the folder of a run.

        Raises: DataError if one is damaged, or was trained with other settings, so that its results would be attributed
        to the wrong experiment.
        """
        found = self.folder(name, seed).glob(f"version_*/{RECORD}")
        folders = sorted((path.parent for path in found), key=lambda path: (len(path.name), path.name))  # by number
        runs = [read_run(folder) for folder in folders if state_of(folder) in ("finished", DIVERGED)]
        for run in runs:
            self._check_settings(run, name, seed)
        return runs

    def _check_settings(self, run: Run, experiment: str, seed: int) -> None:
        layers = self.layers(experiment)
        wanted = _settings(load_configs(*(layer for layer in layers if not layer.startswith("--"))))
        for name, _, value in (layer[2:].partition("=") for layer in layers if layer.startswith("--")):
            if f"{name}.class_path" in wanted:  # an option with another class replaces the class and its arguments
                wanted = {key: each for key, each in wanted.items() if not key.startswith(f"{name}.")}
            wanted[name] = load_yaml(value, name)
        wanted |= {"seed_everything": seed} | ({"data.root": self.images} if self.images else {})
        found = _settings(run.config)
        for key, value in wanted.items():
            if key.startswith(("trainer.logger", "trainer.callbacks")) or (
                self.images and _is_of_other_data(key, found)
            ):
                continue
            of_run = found.get(key, found.get(f"{key}.class_path"))  # an option may give a class without arguments
            if not _is_same_place(value, of_run) if key == "data.root" else _differ(value, of_run):
                raise DataError(
                    f"{run.folder} is not a run of {experiment}: its {key} is {of_run}, not {value}; move "
                    "it, or choose another folder with --runs"
                )


def _as_completed(futures: Iterable[Future[None]]) -> Iterator[Future[None]]:
    """Yield futures as they complete, and every second let signals be handled that reached another thread."""
    pending = set(futures)
    while pending:
        done, pending = wait(pending, timeout=1.0, return_when=FIRST_COMPLETED)
        yield from done


def _is_of_other_data(key: str, found: Mapping[str, Any]) -> bool:
    """Whether a key is the class of the data that other images replace, or an argument that the images' class lacks."""
    return key in ("data", "data.class_path") or (key.startswith("data.") and key not in found)


def _is_same_place(one: Any, other: Any) -> bool:
    """Whether two paths are the same, however they are written.

    >>> _is_same_place("images/", "./images"), _is_same_place("images", None)
    (True, False)
    """
    return isinstance(other, str) and os.path.normpath(str(one)) == os.path.normpath(other)


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
    """Whether two values of configs differ, regardless of notation."""
    if isinstance(wanted, list | tuple) and isinstance(found, list | tuple):
        return len(wanted) != len(found) or any(map(_differ, wanted, found))
    if not (isinstance(wanted, int | float | str) and isinstance(found, int | float | str)):
        return bool(wanted != found)
    try:
        return float(wanted) != float(found)
    except ValueError:  # a class may be named with or without its module
        return str(wanted).rpartition(".")[2] != str(found).rpartition(".")[2]


def _state(folder: Path) -> str:
    """State of the newest run below a folder."""
    newest = max(folder.glob(f"version_*/{RECORD}"), key=os.path.getmtime, default=None)
    return "missing" if newest is None else state_of(newest.parent)


def _check(status: int, name: str, command: str) -> None:
    if status:
        raise UsageError(f"`{command}` of {name} ended with status {status}: see its output")


def _of_diverged(folder: Path) -> str:
    return f"{folder.name} diverged: its loss is not finite, so it is not trained again; remove {folder} to repeat it"
