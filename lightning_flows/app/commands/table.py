"""``table``: the paper's tables, and one of VAEs, from finished runs."""

import sys
from collections.abc import Mapping
from pathlib import Path

from lightning_flows.app.commands.experiments import EXPERIMENTS, POINTWISE, Experiment
from lightning_flows.app.commands.small import named, resized, searched
from lightning_flows.app.terminal import one_line, plain
from lightning_flows.errors import UsageError
from lightning_flows.reporting.tables import TABLES, find_runs

SEEDS = (0, 1, 2)


def table(
    number: int | str,
    runs: str = "runs",
    fit: bool = False,
    seeds: list[int] | None = None,
    overlays: list[str] | None = None,
    images: str | None = None,
    only: str = "",
    jobs: int = 1,
    size: str | None = None,
    lr: list[float] | None = None,
    pointwise: bool = False,
) -> None:
    """Print a table of the paper as Markdown, with results of finished runs next to the paper's.

    Args:
        number: number of the table, 1 to 4; or vae for the posteriors of VAEs.
        runs: folder of the runs, several seeds each.
        fit: first train and test the missing runs; rerunning the command resumes.
        seeds: training seeds; 0, 1 and 2 by default.
        overlays: configs on top of the table's own; by default those that reduce tables 1 to 3, and vae, to two CPU
            cores; [] for none.
        images: folder or archive of images to train on instead of the default data.
        only: train only runs whose name contains this string.
        jobs: number of parallel runs, which share the CPU cores, so that their runtimes are longer.
        size: 8x8 or 16x16 for small images in tables 1 to 3, where all rows have equal parameters.
        lr: with size: learning rates to search, such as [1e-3,2e-3,4e-3]; each family takes the one with the lowest
            validation loss of its first seed.
        pointwise: table 1, with size: nets of the couplings that see single pixels.
    """
    if number not in TABLES:
        raise UsageError(f"{number} is not a table: choose {', '.join(map(str, TABLES))}")
    if (lr and not size) or (pointwise and (number != 1 or not size)):
        raise UsageError("--lr needs --size, and --pointwise both --size and table 1: add --size 8x8, or omit them")
    if number == 4 and images:
        raise UsageError("--images does not apply to table 4, whose data are graphs: omit it")
    if fit:
        from lightning_flows.app.commands.sweep import Trainings

        experiments = POINTWISE if pointwise else EXPERIMENTS[number]
        chosen = {name: each for name, each in experiments.items() if only in name}
        if not chosen or jobs < 1:
            raise UsageError(
                f"--only {only!r} matches none of {', '.join(EXPERIMENTS[number])}, or --jobs {jobs} is below 1: "
                "correct one of them"
            )

        def trainings(experiments: Mapping[str, Experiment]) -> Trainings:
            return Trainings(Path(runs), experiments, overlays=overlays, images=images, jobs=jobs)

        seeds = list(SEEDS) if seeds is None else seeds
        if size:
            chosen = resized(chosen, size)
            chosen = searched(chosen, size, lr, seeds[0], trainings) if lr else named(chosen, size)
        trainings(chosen).run(seeds)
    found = find_runs(runs, report=lambda text: print(f"skipped: {one_line(text)}", file=sys.stderr))
    print(plain(TABLES[number](found).markdown()))
