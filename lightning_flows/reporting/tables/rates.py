"""Learning rates of runs, chosen by validation."""

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from lightning_flows.errors import DataError
from lightning_flows.reporting.tables.compare import check_comparable, check_items, metric, newest_by_seed, one_per_seed
from lightning_flows.reporting.tables.curve_file import CURVES
from lightning_flows.reporting.tables.curves import is_whole, logged_values
from lightning_flows.reporting.tables.runs import RECORD, Run, read_run, recorded_state
from lightning_flows.reporting.tables.scalars import LARGEST
from lightning_flows.reporting.tables.table import NONE, Table


def rate_of(run: Run) -> float | None:
    """Learning rate in the config of a run; None if there is none, or no finite one."""
    optimizer = run.config.get("optimizer")
    arguments = optimizer.get("init_args") if isinstance(optimizer, dict) else None
    rate = arguments.get("lr") if isinstance(arguments, dict) else None
    if not isinstance(rate, int | float) or isinstance(rate, bool) or not abs(rate) <= LARGEST:
        return None
    return float(rate)


def lowest_validation(run: Run) -> float:
    """Lowest validation loss of a run, infinite without a curve that reaches the step of the tested best checkpoint."""
    values = [value for _, value in logged_values(run, "loss")] if is_whole(run, "loss") else []
    return min(values, default=math.inf)


def chosen(runs: Sequence[Run]) -> list[Run]:
    """The runs of a row, one per seed, at the learning rate with the lowest mean validation loss over seeds.

    The seeds are those that all rates have or, if there are none, all. Raises: DifferError if runs differ in more than
    their seed and rate; DataError if there are several rates, and a run has no complete curve.
    """
    compared = _compared(runs)

    def loss(rate: float | None) -> float:
        return statistics.fmean(map(lowest_validation, compared[rate]))

    if len(compared) > 1:
        for run in (run for group in compared.values() for run in group):
            if lowest_validation(run) == math.inf:
                raise DataError(
                    f"{run.folder} has no complete curve of val/loss, so that no learning rate can be chosen: "
                    f"restore {CURVES}, or move the run to another folder"
                )
    best = min(compared, key=loss)
    return one_per_seed([run for run in runs if rate_of(run) == best])


def at_common_rates(first: Sequence[Run], second: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """The :func:`chosen` runs of two rows among the learning rates that both have; none if they share none."""
    shared = set(map(rate_of, first)) & set(map(rate_of, second))
    kept = [[run for run in runs if rate_of(run) in shared] for runs in (first, second)]
    return (chosen(kept[0]), chosen(kept[1])) if shared else ([], [])


def rates_table(rows: Mapping[str, Sequence[Run]]) -> Table | None:
    """NLL of rows at each learning rate, or the bound unless all have an NLL; None if no row has several rates.

    Values are means over the seeds that all rates of a row have or, if there are none, over all of its seeds.
    """
    compared = {name: groups for name, runs in rows.items() if None not in (groups := _compared(runs))}
    if all(len(groups) < 2 for groups in compared.values()):
        return None
    every = [run for groups in compared.values() for runs in groups.values() for run in runs]
    title, name = ("NLL", "test/nll_bpd") if metric(every, "test/nll_bpd") else ("−ELBO", "test/bpd")
    rates = sorted({rate for groups in compared.values() for rate in groups if rate is not None})
    cells = [
        [row, *(f"{statistics.fmean(metric(groups[rate], name)):.3f}" if rate in groups else NONE for rate in rates)]
        for row, groups in compared.items()
    ]
    note = (
        "Means over the seeds that are available at all rates of a row or, if there are none, over all. The rate with "
        "the lowest validation loss is chosen."
    )
    return Table(["model", *(f"{title} at {rate:g}" for rate in rates)], cells, note)


def rates_note(rows: Sequence[tuple[str, Sequence[Run]]]) -> str:
    """A sentence with the learning rates of rows; empty if none is known."""
    rates = {name: rate_of(runs[0]) for name, runs in rows}
    if None not in rates.values() and len(set(rates.values())) == 1:
        return f"Learning rate of all rows: {next(iter(rates.values())):g}. "
    if set(rates.values()) <= {None}:
        return ""
    return f"Learning rates: {', '.join(f'{name} {rate:g}' for name, rate in rates.items() if rate is not None)}. "


def diverged_note(root: Path, flows: Collection[str] = ()) -> str:
    """A sentence that names the runs below a folder whose loss became infinite or NaN; empty if there are none.

    Runs that finished when repeated are not named. If ``flows`` is not empty, neither are runs whose flow is of another
    class, or that have none.
    """
    states: dict[Path, dict[str, Path]] = {}
    for path in sorted(root.rglob(f"version_*/{RECORD}")):
        states.setdefault(path.parent.parent, {})[recorded_state(path.parent)] = path.parent
    names = [
        run.name
        for run, versions in states.items()
        if "diverged" in versions
        and "finished" not in versions
        and (not flows or _flow(versions["diverged"]) in {*flows, None})
    ]
    return f"Diverged and left out: {', '.join(names)}. " if names else ""


def _flow(folder: Path) -> str | None:
    """Class of the flow of a run that may not have been tested, empty if it has none; None if it cannot be read."""
    try:
        return read_run(folder).trained_flow
    except (DataError, OSError):
        return None


def _compared(runs: Sequence[Run]) -> dict[float | None, list[Run]]:
    """The newest runs by learning rate, of the seeds that all rates have or, if there are none, of all seeds.

    Raises: DifferError if these runs differ in more than their seed and rate.
    """
    groups: dict[float | None, list[Run]] = {}
    for run in runs:
        groups.setdefault(rate_of(run), []).append(run)
    seeds = set.intersection(*({run.seed for run in group} for group in groups.values()))
    compared = {
        rate: newest_by_seed([run for run in group if not seeds or run.seed in seeds]) for rate, group in groups.items()
    }
    every = [run for group in compared.values() for run in group]
    check_comparable(every, free=lambda run: {"lr"})
    check_items(every)
    return compared
