"""``table``: the paper's tables, and one of VAEs, from finished runs."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lightning_flows.app.commands.experiments import EXPERIMENTS, OWN, POINTWISE, Experiment
from lightning_flows.app.commands.figure import check_image_file, write_figure
from lightning_flows.app.commands.small import named, resized, searched
from lightning_flows.app.terminal import one_line, plain
from lightning_flows.errors import DataError, UsageError
from lightning_flows.progress import progress
from lightning_flows.reporting.tables import (
    FLOWS,
    MODELS,
    ROWS,
    TABLES,
    Run,
    Table,
    baselines,
    find_runs,
    rows_in,
    supplements,
)
from lightning_flows.reporting.tables.curves import row_curves
from lightning_flows.reporting.tables.rates import diverged_note

SEEDS = (0, 1, 2)


def table(
    number: int | str,
    runs: str = "runs",
    fit: bool = False,
    seeds: list[int] | None = None,
    overlays: list[str] | None = None,
    images: str | None = None,
    only: list[str] | str = "",
    jobs: int | None = None,
    size: str | None = None,
    lr: list[float] | None = None,
    pointwise: bool = False,
    baseline: str = "",
    figure: str | None = None,
    overwrite: bool = False,
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
        only: train only the rows whose name contains this string, or one of these: '[csf,coupling]'.
        jobs: number of parallel runs, 1 by default; they share the CPU cores, so that their runtimes are longer.
        size: 8x8 or 16x16 for small images in tables 1 to 3, where all rows have equal parameters.
        lr: with size: learning rates to search, such as [2e-3,4e-3,8e-3]; each family takes the one with the lowest
            validation loss of its first seed. A single one is used for all rows.
        pointwise: table 1, with size: nets of the couplings that see single pixels.
        baseline: tables 1 to 3: model that the others are compared with, such as emerging; by default that of
            the first row.
        figure: tables 1 to 3: image file for the validation curves by step and by time, .png, .svg or .pdf.
        overwrite: replace an existing file.
    """
    if number not in TABLES:
        raise UsageError(f"{number} is not a table: choose {', '.join(map(str, TABLES))}")
    if (lr is not None and not size) or (pointwise and (number != 1 or not size)):
        raise UsageError("--lr needs --size, and --pointwise both --size and table 1: add --size 8x8, or omit them")
    if size and number not in ROWS:
        raise UsageError(f"--size is for tables {', '.join(map(str, ROWS))}: omit it")
    if number == 4 and images:
        raise UsageError("--images does not apply to table 4, whose data are graphs: omit it")
    _check_without_fit(fit, seeds=seeds, overlays=overlays, images=images, only=only, jobs=jobs, size=size)
    if baseline and number not in ROWS:
        raise UsageError(f"--baseline is for tables {', '.join(map(str, ROWS))}: omit it")
    if baseline and baseline not in MODELS[number]:
        raise UsageError(
            f"--baseline {baseline!r} is not a model of the table: choose from {', '.join(MODELS[number])}"
        )
    if figure:
        if number not in ROWS:
            raise UsageError(f"--figure is for tables {', '.join(map(str, ROWS))}: omit it")
        check_image_file(Path(figure), "--figure", overwrite=overwrite)
    elif overwrite:
        raise UsageError("--overwrite replaces the file of --figure: name it, or omit --overwrite")
    if fit:
        from lightning_flows.app.commands.estimate import Estimates
        from lightning_flows.app.commands.processes import Processes
        from lightning_flows.app.commands.sweep import Trainings

        experiments = POINTWISE if pointwise else EXPERIMENTS[number] | (OWN if number == 2 and size else {})
        chosen = _chosen(experiments, [only] if isinstance(only, str) else only)
        jobs = 1 if jobs is None else jobs
        if jobs < 1:
            raise UsageError(f"--jobs is {jobs}: pass at least 1")
        costs = Estimates(Processes(jobs).threads)

        def trainings(experiments: Mapping[str, Experiment]) -> Trainings:
            return Trainings(Path(runs), experiments, overlays=overlays, images=images, jobs=jobs, costs=costs)

        seeds = list(SEEDS) if seeds is None else seeds
        if not seeds:
            raise UsageError("--seeds is empty: pass at least one, such as '[0]'")
        if size:
            chosen = resized(chosen, size)
            chosen = searched(chosen, size, lr, seeds, trainings) if lr is not None else named(chosen, size)
        trainings(chosen).run(seeds)
    found = find_runs(runs, report=lambda text: print(f"skipped: {one_line(text)}", file=sys.stderr))
    for run in progress(found if number != 4 else [], unit="run", desc="reading", leave=False, delay=1):
        for problem in run.scalars.problems:  # the slowest part
            print(one_line(f"in {run.folder}, {problem}"), file=sys.stderr)
    made, following = TABLES[number](found), supplements(number, found, baseline)
    print(_text(made._replace(note=diverged_note(Path(runs), FLOWS[number]) + made.note)))
    for title, each in following.items():
        print(f"\n{plain(title)}:\n\n{_text(each)}")
    if figure:
        _draw(number, found, baseline, Path(figure), overwrite=overwrite)


def _text(table: Table) -> str:
    """A table as Markdown, with its note on one line, even if folder names contain line breaks."""
    return plain(table._replace(note=one_line(table.note)).markdown())


def _check_without_fit(fit: bool, **options: object) -> None:
    """Raise UsageError for options that choose what to train, but train nothing."""
    given = [f"--{name}" for name, value in options.items() if value not in (None, "")]
    if given and not fit:
        raise UsageError(
            f"without --fit there is no use for {', '.join(given)}, because the table shows all runs below --runs: add "
            "--fit, or omit them"
        )


def _chosen(experiments: Mapping[str, Experiment], parts: Sequence[str]) -> dict[str, Experiment]:
    """Experiments whose names contain one of ``parts``. Raises: UsageError if one is in no name, or there are none."""
    for part in parts:
        if not any(part in name for name in experiments):
            raise UsageError(f"--only {part!r} matches no row: choose from {', '.join(experiments)}")
    if not parts:
        raise UsageError("--only is empty: name at least one row, or omit it")
    return {name: each for name, each in experiments.items() if any(part in name for part in parts)}


def _draw(number: int | str, found: Sequence[Run], baseline: str, path: Path, *, overwrite: bool) -> None:
    """Write the figure of the curves of a table. Raises: DataError if no row has a curve."""
    from lightning_flows.reporting.figures.curves import curves_figure  # imports matplotlib and torch

    rows = rows_in(number, found)
    curves = row_curves(rows)
    if not curves:
        raise DataError("no run of the table has logged val/bpd: keep the event files of the runs, or omit --figure")
    write_figure(curves_figure(curves, baselines(rows, baseline), title=f"Table {number}"), path, overwrite=overwrite)
    print(f"figure: {path}", file=sys.stderr)
