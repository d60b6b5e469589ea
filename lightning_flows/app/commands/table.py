"""``table``: the paper's tables from finished runs."""

import sys
from pathlib import Path

from lightning_flows.app.terminal import one_line, plain
from lightning_flows.errors import UsageError
from lightning_flows.reporting.tables import TABLES, find_runs
from lightning_flows.reporting.tables.table1 import PAPER as TABLE1
from lightning_flows.reporting.tables.table2 import TABLE2, TABLE3
from lightning_flows.reporting.tables.table4 import DATA, MODELS

SEEDS = (0, 1, 2)
CONFIGS = {
    1: [f"table1/{kind}.yaml" for kind in TABLE1],
    2: [f"table2/{kind}_{noise}.yaml" for noise in ("uniform", "variational") for kind in TABLE2],
    3: [f"table3/{kind}.yaml" for kind in TABLE3],
    4: [f"table4/{data}_{model}.yaml" for data in DATA for model in MODELS],
}
OVERLAYS = {1: ["cpu.yaml"], 2: ["cpu.yaml"], 3: ["cpu.yaml"], 4: []}  # those of table 4 are small as they are


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
        images: folder or tar of images to train on instead of the overlay's.
        only: train only the configs whose name contains this.
        jobs: parallel runs, which share the CPU cores; their runtimes are then those of a busy machine.
    """
    if number not in TABLES:
        raise UsageError(f"expected a table among {', '.join(map(str, TABLES))}; got {number}")
    if number == 4 and images:
        raise UsageError("expected no images for table 4, whose data are graphs; leave --images out")
    if fit:
        configs = [config for config in CONFIGS[number] if only in config]
        if not configs or jobs < 1:
            raise UsageError(
                f"expected only to be part of one of {', '.join(CONFIGS[number])} and at least one job; "
                f"got {only!r} and {jobs}"
            )
        from lightning_flows.app.commands.sweep import Trainings  # imports Lightning

        overlays = OVERLAYS[number] if overlays is None else overlays
        Trainings(Path(runs), overlays=overlays, images=images, jobs=jobs).run(
            configs, SEEDS if seeds is None else seeds
        )
    found = find_runs(runs, tell=lambda text: print(f"left out: {one_line(text)}", file=sys.stderr))
    print(plain(TABLES[number](found).markdown()))
