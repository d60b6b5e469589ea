"""Trainings for a report: tested or not, whole or not."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_flows.errors import DataError
from lightning_flows.reporting.report.images import Inlined, inline
from lightning_flows.reporting.tables.events import Scalars, read_scalars
from lightning_flows.reporting.tables.run_files import MAX_CONFIG, parse_yaml, read_text
from lightning_flows.reporting.tables.runs import CONFIG, RUNTIME, TESTS, Run, read_run

MARKS = (CONFIG, TESTS, RUNTIME, "events.out.tfevents.*")
"""A folder with one of these is a run."""


@dataclass(frozen=True)
class Training:
    """A run folder, which may be incomplete.

    Args:
        folder: the run folder.
        name: its path relative to the folder of the report.
        run: the run as read by tables; None without a test.
        config: text of its config; empty if there is none.
        settings: the config as a mapping; empty if it is broken.
        scalars: its curves.
        image: its newest sample grid; None if there is none.
        problems: messages on what is missing or broken.
    """

    folder: Path
    name: str
    run: Run | None
    config: str
    settings: dict[str, Any]
    scalars: Scalars
    image: Inlined | None
    problems: list[str]

    @property
    def experiment(self) -> str:
        """Folder that a table's runs share: the path without the run's own name and version."""
        return str(Path(self.name).parent.parent)

    @property
    def short_name(self) -> str:
        """The run's own name, without experiment and version."""
        path = Path(self.name)
        return path.parent.name or path.name

    @property
    def label(self) -> str:
        """The run's own name without its seed: runs of one label differ in their seeds alone."""
        return re.sub(r"_seed\d+$", "", self.short_name)


def read_trainings(root: Path, progress: Callable[[list[Path]], Iterable[Path]] = iter) -> list[Training]:
    """Trainings anywhere below a folder, sorted by name; ``progress`` wraps the folders, as tqdm does.

    Raises: DataError if there is no such folder, or no run in it.
    """
    if not root.is_dir():
        raise DataError(f"expected a folder with runs; got {root}, which is not there: give the save_dir of your runs")
    folders = sorted({path.parent for mark in MARKS for path in root.rglob(mark)})
    if not folders:
        raise DataError(f"expected runs below {root}; got none: train with `fit`")
    return [_read(folder, root) for folder in progress(folders)]


def _read(folder: Path, root: Path) -> Training:
    problems: list[str] = []
    run, config, settings = None, "", {}
    try:
        config = read_text(folder / CONFIG, folder, MAX_CONFIG)
        loaded = parse_yaml(config, folder / CONFIG)
        settings = loaded if isinstance(loaded, dict) else {}
        tests = folder / TESTS
        if not (tests.is_symlink() or tests.exists()) or (tests.is_file() and tests.stat().st_size == 0):
            problems.append("no test: run `test --ckpt_path RUN/checkpoints/best.ckpt` to have it in a table")
        elif (run := read_run(folder)) is None:
            problems.append("its tests are on other data than its training")
    except (DataError, OSError) as error:
        problems.append(str(error))
    scalars = run.scalars if run else read_scalars(folder)
    if not scalars.curves and not scalars.problems:
        problems.append("no curves: there is no event file with scalars")
    problems += scalars.problems
    newest, image = max(folder.glob("samples/*.png"), default=None), None
    try:
        image = inline(newest, folder) if newest else None
    except DataError as error:
        problems.append(str(error))
    return Training(folder, str(folder.relative_to(root)), run, config, settings, scalars, image, problems)
