"""Learning rates of runs, chosen by validation."""

import math
from collections.abc import Collection, Sequence
from pathlib import Path

from lightning_flows.errors import DataError
from lightning_flows.reporting.tables.runs import RECORD, Run, read_run, recorded_state


def rate_of(run: Run) -> float | None:
    """Learning rate in the config of a run; None if there is none."""
    optimizer = run.config.get("optimizer")
    arguments = optimizer.get("init_args") if isinstance(optimizer, dict) else None
    rate = arguments.get("lr") if isinstance(arguments, dict) else None
    return float(rate) if isinstance(rate, int | float) and not isinstance(rate, bool) else None


def lowest_validation(run: Run) -> float:
    """Lowest validation loss of a run, infinite without a curve."""
    return min((value for _, value in run.curve("val/loss") if math.isfinite(value)), default=math.inf)


def at_best_rate(runs: Sequence[Run]) -> list[Run]:
    """The runs of a row at the learning rate with the lowest validation loss, in the mean of the seeds of all rates.

    Rates without a common seed are compared by all of their seeds. Runs at a single rate are returned as they are.
    """
    by_rate: dict[float | None, list[Run]] = {}
    for run in runs:
        by_rate.setdefault(rate_of(run), []).append(run)
    if len(by_rate) < 2:
        return list(runs)
    seeds = set.intersection(*({run.seed for run in group} for group in by_rate.values()))

    def loss(group: list[Run]) -> float:
        values = [lowest_validation(run) for run in group if not seeds or run.seed in seeds]
        return sum(values) / len(values)

    return min(by_rate.values(), key=loss)


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
