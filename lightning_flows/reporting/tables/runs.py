"""Run folders: the records of a training run and its tests, complete or not."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning_flows.errors import DataError
from lightning_flows.reporting.tables.curve_file import CURVES, read_curve_file
from lightning_flows.reporting.tables.events import read_scalars
from lightning_flows.reporting.tables.records import CONFIG as CONFIG_SCHEMA
from lightning_flows.reporting.tables.records import RECORD as RECORD_SCHEMA
from lightning_flows.reporting.tables.records import RUNTIME as RUNTIME_SCHEMA
from lightning_flows.reporting.tables.records import check, check_test
from lightning_flows.reporting.tables.run_files import MAX_CONFIG, MAX_RECORDS, parse_json, parse_yaml, read_text
from lightning_flows.reporting.tables.scalars import Curve, Scalars, merged

CONFIG, TESTS, RUNTIME, RECORD = "config.yaml", "tests.jsonl", "runtime.json", "run.json"
"""Files in a run folder: the config, a line for each ``test`` of a checkpoint, runtimes, and the state of the run."""
MARKS = (CONFIG, TESTS, RUNTIME, CURVES, "events.out.tfevents.*")
"""A folder that contains one of these is a run."""
STATES = ("running", "stopped", "failed", "diverged", "finished")
"""States of a run in its record."""
ADVICE = {
    CONFIG: "correct the file, or move the run to another place",
    RUNTIME: "correct or remove the file",
    RECORD: "correct or remove the file",
    TESTS: "remove that line, or the file, and run `test` again",
}
"""What to do with a broken file of a run."""
BEST = "best.ckpt"
"""Checkpoint whose tests are the results of a run, if there are any."""
OF_WANDB = "wandb/*run*/files"
"""Folders of Weights & Biases, which may contain a file ``config.yaml`` of its own."""


@dataclass(frozen=True)
class Run:
    """A run folder.

    Args:
        folder: the run folder.
        root: folder below which it was found.
        config: config that it was trained with; empty if that is broken.
        test: record of its last test on the data that it was trained on, if possible after its training, on all items
            and of ``best.ckpt``; empty if there is none.
        runtime: record of RuntimeMonitor; empty if there is none.
        error: sentence that names the broken file; empty if there is none.
        shares_name: whether other versions of the run were read, so that its short name includes the version.
        state: running, stopped, failed, diverged or finished; unknown without a record.
        ended: time at which its training ended, in seconds since 1970; None if it has not, or without a record.
    """

    folder: Path
    root: Path
    config: dict[str, Any] = field(default_factory=dict)
    test: dict[str, Any] = field(default_factory=dict)
    runtime: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    shares_name: bool = False
    state: str = "unknown"
    ended: float | None = None

    @property
    def is_tested_early(self) -> bool:
        """Whether the test that counts started before its training ended."""
        return self.ended is not None and bool(self.test) and self.test["time"] < self.ended

    @property
    def why_not_final(self) -> str:
        """Why the test that counts is not of a finished training, as a predicate; empty if it is, or without a test."""
        if not self.test:
            return ""
        if self.state == "diverged":
            return "diverged: its loss is not finite"
        if self.state == "running":
            return "is running, not finished: wait for it, or resume it if it was killed, then test it again"
        if self.state in ("stopped", "failed"):
            return f"is {self.state}, not finished: resume it with `fit --ckpt_path=last`, then test it again"
        return "was tested before its training ended: test it again" if self.is_tested_early else ""

    @property
    def name(self) -> str:
        """Path relative to the folder below which it was found: EXPERIMENT/NAME/version_N."""
        return str(self.folder.relative_to(self.root))

    @property
    def short_name(self) -> str:
        """NAME, or NAME/version_N where the name alone is ambiguous."""
        name = self.folder.relative_to(self.root).parent.name
        return f"{name}/{self.folder.name}" if name and self.shares_name else name or self.folder.name

    @property
    def experiment(self) -> str:
        return str(self.folder.relative_to(self.root).parent.parent)

    @property
    def label(self) -> str:
        """The short name without its seed: runs with the same label differ only in their seeds."""
        return re.sub(r"_seed\d+$", "", self.short_name)

    @property
    def seed(self) -> int | None:
        """Seed of the run; None without one, as with ``--seed_everything=false``."""
        return None if (seed := self.config.get("seed_everything")) is False else seed

    @property
    def flow(self) -> str:
        """Class of the tested flow, without its module."""
        return _class_of(self._component("flow"))

    @property
    def trained_flow(self) -> str:
        """Class of the flow in the config, without its module, also if it was not tested."""
        return _class_of(self.config["model"]["init_args"].get("flow", {}))

    @property
    def flow_arguments(self) -> dict[str, Any]:
        return self._component("flow").get("init_args", {})

    @property
    def is_pointwise(self) -> bool:
        """Whether the nets of the flow's couplings see single pixels."""
        net = self.flow_arguments.get("net")
        return isinstance(net, dict) and net.get("kernel_size") == 1

    @property
    def dequantization(self) -> str:
        """``uniform``, ``variational`` or the class name of another dequantization; empty for graphs."""
        return _class_of(self._component("dequantization")).removesuffix("Dequantization").lower()

    @property
    def posterior(self) -> str:
        """Class of the tested posterior, without its module; empty if the model is not a VAE."""
        return _class_of(self._component("posterior"))

    @property
    def posterior_arguments(self) -> dict[str, Any]:
        return self._component("posterior").get("init_args", {})

    @property
    def metrics(self) -> dict[str, Any]:
        """Results of the test by name; those that start with ``test/`` are numbers."""
        return self.test.get("metrics", {})

    @cached_property
    def scalars(self) -> Scalars:
        """Curves that the run recorded, and those in event files of TensorBoard; each step counts once."""
        return merged(read_scalars(self.folder), read_curve_file(self.folder))

    def curve(self, tag: str) -> Curve:
        """Steps and values of a scalar that was logged; empty if there is none."""
        return self.scalars.curves.get(tag, [])

    def _component(self, name: str) -> dict[str, Any]:
        return self.test["model"]["init_args"].get(name, {}) if self.test else {}


def read_run(folder: Path, root: Path | None = None) -> Run:
    """Read the run in a folder. Raises: DataError if a file is broken."""
    run = _read(folder, root or folder)
    if run.error:
        raise DataError(run.error)
    return run


def read_runs(root: Path, progress: Callable[[list[Path]], Iterable[Path]] = iter) -> list[Run]:
    """Read all runs below a folder, sorted by name, also incomplete ones; ``progress`` wraps the folders.

    Raises: DataError if the folder does not exist or contains no run.
    """
    check_folder(root)
    found = {path.parent for mark in MARKS for path in root.rglob(mark)}
    folders = sorted(folder for folder in found if not folder.match(OF_WANDB))
    if not folders:
        raise DataError(f"there are no runs below {root}: train with `fit`")
    versions, runs = Counter(folder.parent for folder in folders), []
    for folder in progress(folders):
        runs.append(replace(_read(folder, root), shares_name=versions[folder.parent] > 1))
        _ = runs[-1].scalars  # the slowest part
    return runs


def find_runs(folder: str | Path, report: Callable[[str], object] | None = None) -> list[Run]:
    """Finished and tested runs anywhere below a folder, sorted by name; tests on other data are skipped.

    Runs that have not finished, and runs that were tested before their training ended, are skipped. Runs without a
    record of their state count as finished.

    Args:
        folder: folder to search.
        report: called with a message for each tested run that is skipped, and for each broken one.
    Raises: DataError if there are no runs, or, without ``report``, if one is broken.
    """
    root = Path(folder)
    check_folder(root)
    runs = [_read(path.parent, root) for path in sorted(root.rglob(TESTS))]
    for error in (run.error for run in runs if run.error):
        if report is None:
            raise DataError(error)
        report(error)
    tested = [run for run in runs if run.test]
    final = []
    for run in tested:
        if not run.why_not_final:
            final.append(run)
        elif report is not None:
            report(f"{run.folder} {run.why_not_final}")
    if final:
        return final
    kind = "finished, tested runs" if tested else "tested runs"
    raise DataError(
        f"there are no {kind} below {folder}: train with `fit`, then test with "
        "`test --ckpt_path RUN/checkpoints/best.ckpt`"
    )


def check_folder(root: Path) -> None:
    """Raise DataError unless a folder exists and can be listed."""
    if not root.is_dir():
        raise DataError(f"{root} is not a folder: use the save_dir of your runs, or train with `fit`")
    if not os.access(root, os.R_OK | os.X_OK):
        raise DataError(f"{root} cannot be listed (Permission denied): change its permissions")


def recorded_state(folder: Path) -> str:
    """State of a run in its record, such as diverged; unknown if that is missing or cannot be read."""
    try:
        return str(_record(folder).get("state", "unknown"))
    except (DataError, OSError):
        return "unknown"


def _record(folder: Path) -> dict[str, Any]:
    """State of a run and time of its end; empty without a record."""
    path = folder / RECORD
    record = check(parse_json(_text(path) or "{}", path), RECORD_SCHEMA, path)
    if record.get("state", "running") not in STATES:
        raise DataError(f"in {path.name}, state is {record['state']!r}, not one of {', '.join(STATES)}")
    return {name: record[name] for name in ("state", "ended") if name in record}


def _read(folder: Path, root: Path) -> Run:
    config: dict[str, Any] = {}
    path = folder / CONFIG
    try:
        config = check(parse_yaml(read_text(path, folder, MAX_CONFIG), path), CONFIG_SCHEMA, path)
        path = folder / RUNTIME
        runtime = check(parse_json(_text(path) or "{}", path), RUNTIME_SCHEMA, path)
        path = folder / TESTS
        lines = [(path.with_name(f"{TESTS}:{i}"), line) for i, line in enumerate(_text(path).splitlines(), 1)]
        tests = [check_test(parse_json(line, place), place) for place, line in lines]
        path = folder / RECORD
        record = _record(folder)
    except (DataError, OSError) as error:
        is_forbidden = isinstance(error.__cause__ or error, PermissionError)
        advice = "change its permissions" if is_forbidden else ADVICE[path.name]
        return Run(folder, root, config, error=f"the run in {folder} is broken: {error}; {advice}")
    place = _source(config["data"])  # for tests by a version that did not record whether the data were others
    own = [test for test in tests if not test.get("is_other_data", _source(test["data"]) != place)]
    ended = record.get("ended") or 0.0
    # the last one counts
    own.sort(key=lambda test: (test["time"] >= ended, not test.get("is_partial", False), test["checkpoint"] == BEST))
    return Run(folder, root, config, own[-1] if own else {}, runtime, **record)


def _text(path: Path) -> str:
    """Text of an optional file."""
    there = path.is_symlink() or path.exists()
    return read_text(path, path.parent, MAX_RECORDS) if there else ""


def _class_of(component: dict[str, Any]) -> str:
    return component.get("class_path", "").rpartition(".")[2]


def _source(data: dict[str, Any]) -> tuple[Any, ...]:
    arguments = data["init_args"]
    names = ("root", "path", "mixture", "means")
    return (
        _class_of(data),
        *map(arguments.get, names),
        arguments.get("binarization") or "none",
        arguments.get("downsample") or 1,
    )
