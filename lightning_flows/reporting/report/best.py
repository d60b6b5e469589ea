"""The best run of each model on each dataset, across the experiments of a report."""

import math
from collections.abc import Sequence

from lightning_flows.reporting.report.datasets import datasets
from lightning_flows.reporting.report.experiments import (
    likelihood,
    model_name,
    number,
    tested_value,
    unit_of,
)
from lightning_flows.reporting.tables import Run, Table
from lightning_flows.reporting.tables.table import NONE

HEADER = ["model", "test", "NLL", "validation", "unit", "data", "parameters (M)", "best run", "of"]
NOTE = (
    "For each dataset and model, the finished run with the lowest validation loss; the last column is the number of "
    "finished runs that were tested on all items. Models may have been trained with different settings: see the config "
    "of each run."
)


def best_runs(runs: Sequence[Run]) -> Table:
    r"""The best run of each model on each dataset, chosen by validation among finished ones; the best test first.

    .. math:: r^* = \arg\min_r \, \min_t \, \mathrm{val}_r(t)

    A run without validation is chosen only if no run of the model has any; then the test decides. Values are in the
    unit of the test: bits per dimension, or nats. Runs that were tested on some of the items only are left out.
    """
    final = [run for run in runs if tested_value(run)[1] and not (run.why_not_final or run.test.get("is_partial"))]
    groups: dict[tuple[str, str, str], list[Run]] = {}
    for data, group in datasets(final, tested=True).items():
        for run in group:
            groups.setdefault((data, tested_value(run)[1], model_name(run)), []).append(run)
    best = [(*key, min(group, key=_rank), len(group)) for key, group in groups.items()]
    best.sort(key=lambda each: (each[:2], tested_value(each[3])[0]))
    rows = [
        [
            model, f"{tested_value(run)[0]:.3f}", likelihood(run),
            f"{low:.3f}" if (low := _validation(run)) < math.inf else NONE, unit_of(run, unit), data,
            number(run.test, "num_parameters", scale=1e-6, digits=3), run.name, str(count),
        ]
        for data, unit, model, run, count in best
    ]  # fmt: skip
    return Table(HEADER, rows, NOTE)


def _rank(run: Run) -> tuple[float, float]:
    return _validation(run), tested_value(run)[0]


def _validation(run: Run) -> float:
    """Lowest logged validation value in the unit of the test; infinite if there is none."""
    curve = run.curve(f"val/{tested_value(run)[1]}")
    return min((value for _, value in curve if math.isfinite(value)), default=math.inf)
