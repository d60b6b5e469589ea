"""``table``: the paper's tables from finished runs."""

import sys
from pathlib import Path

from lightning_flows.app.commands.experiments import EXPERIMENTS
from lightning_flows.app.terminal import one_line, plain
from lightning_flows.errors import UsageError
from lightning_flows.reporting.tables import TABLES, find_runs

SEEDS = (0, 1, 2)


def table(
    number: int,
    runs: str = "runs",
    fit: bool = False,
    seeds: list[int] | None = None,
    overlays: list[str] | None = None,
    images: str | None = None,
    only: str = "",
    jobs: int = 1,
) -> None:
    """Print a table of the paper as Markdown, with results of finished runs next to the paper's.

    Args:
        number: number of the table, 1 to 4.
        runs: folder of the runs, several seeds each.
        fit: first train and test the missing runs; running it again resumes.
        seeds: training seeds; 0, 1 and 2 by default.
        overlays: configs on top of the table's own; by default tables 1 to 3 are reduced to two CPU cores, [] for none.
        images: folder or archive of images to train on instead.
        only: train only the runs whose name contains this.
        jobs: parallel runs, which share the CPU cores; their runtimes are then those of a busy machine.
    """
    if number not in TABLES:
        raise UsageError(f"expected a table among {', '.join(map(str, TABLES))}; got {number}")
    if number == 4 and images:
        raise UsageError("expected no images for table 4, whose data are graphs; leave --images out")
    if fit:
        from lightning_flows.app.commands.sweep import Trainings

        chosen = {name: each for name, each in EXPERIMENTS[number].items() if only in name}
        if not chosen or jobs < 1:
            raise UsageError(
                f"expected only to be part of one of {', '.join(EXPERIMENTS[number])} and at least one job; "
                f"got {only!r} and {jobs}"
            )
        Trainings(Path(runs), chosen, overlays=overlays, images=images, jobs=jobs).run(
            SEEDS if seeds is None else seeds
        )
    found = find_runs(runs, tell=lambda text: print(f"left out: {one_line(text)}", file=sys.stderr))
    print(plain(TABLES[number](found).markdown()))
