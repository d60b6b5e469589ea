"""Summaries of the runs of one experiment: results, tables next to the paper's, curves, runtimes."""

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from lightning_flows.errors import DataError
from lightning_flows.reporting.report.chart import Chart, Curve, line_chart
from lightning_flows.reporting.report.datasets import data_name, datasets
from lightning_flows.reporting.tables import FLOWS, TABLES, Run, Table, supplements
from lightning_flows.reporting.tables.compare import DifferError
from lightning_flows.reporting.tables.curves import logged_values
from lightning_flows.reporting.tables.table import NONE
from lightning_flows.reporting.tables.table2 import kinds_of
from lightning_flows.reporting.tables.timing import alike, clock, step_seconds

UNITS = {"bpd": "bits per dimension", "nll": "nats per node"}
"""Metrics that image and graph flows log, and their units; see :func:`unit_of` for other models."""
RESULTS = ["run", "test", "NLL", "model", "dequantization", "data", "parameters (M)", "steps", "tested (UTC)"]
RUNTIMES = [
    "run", "training step (s)", "items per second", "sampling (ms per item)", "peak memory (MiB)", "CPU (s)", "batch",
    "device", "torch", "lightning_flows",
]  # fmt: skip
SECONDS = "training time (s)"
"""Axis of charts by time."""


def results(runs: Sequence[Run]) -> Table:
    """Results of tested runs, the best one first: bound or likelihood, parameters, steps, date."""
    tested = sorted((run for run in runs if headline(run)), key=lambda run: tested_value(run)[::-1])
    rows = [
        [
            run.short_name, headline(run), likelihood(run), model_name(run) or NONE, run.dequantization or NONE,
            data_name(run.config), number(run.test, "num_parameters", scale=1e-6, digits=3),
            str(run.test["global_step"]), _date(run.test["time"]),
        ]
        for run in tested
    ]  # fmt: skip
    return Table(RESULTS, rows, "Best run first. NLL: from importance samples, if the test drew any.")


def runtimes(runs: Sequence[Run]) -> Table:
    """Runtimes and versions of runs."""
    rows = [
        [
            run.short_name,
            number(run.runtime, "train_step_seconds", digits=3), number(run.runtime, "images_per_second"),
            number(run.runtime, "sample_seconds_per_image", scale=1e3, digits=2),
            number(run.runtime, "peak_memory_bytes", scale=2**-20), number(run.runtime, "cpu_seconds"),
            *(str(run.runtime.get(key, run.test.get(key, NONE))) for key in ("batch_size", *RUNTIMES[-3:])),
        ]
        for run in runs if run.runtime or run.test
    ]  # fmt: skip
    return Table(RUNTIMES, rows)


def table_numbers(runs: Sequence[Run]) -> list[int]:
    """Tables that runs belong to. Sylvester flows belong to Table 3 if there are ablations, otherwise to Table 2."""
    flows = {run.flow for run in runs}
    ablated = bool(set(kinds_of(runs).values()) & {"no_autoregressive", "no_basis"})
    belongs = {
        1: "GlowFlow" in flows,
        2: flows & {"CouplingFlow", "ResidualFlow"} or ("ConvSylvesterFlow" in flows and not ablated),
        3: ablated,
        4: flows & FLOWS[4],
    }
    return [number for number, does in belongs.items() if does]


def tables(runs: Sequence[Run]) -> dict[int, Table]:
    """Tables of the paper for which there are runs; one that cannot be built has no rows and states the reason.

    Runs of a single flow with different settings, such as the demo and your own, are not an experiment of the paper.
    """
    final, found = _final(runs), {}
    for number in table_numbers(final):
        try:
            found[number] = TABLES[number](final)
        except DataError as error:
            if not isinstance(error, DifferError) or len({run.flow for run in final}) > 1:
                found[number] = Table([], [], str(error))
    return found


def comparisons(runs: Sequence[Run], numbers: Iterable[int]) -> dict[str, Table]:
    """Results by learning rate, and differences between rows, of tables of the paper that could be built, by title."""
    final = _final(runs)
    every = {number: supplements(number, final) for number in numbers}
    return {f"Table {number}: {title}": table for number, each in every.items() for title, table in each.items()}


def _final(runs: Sequence[Run]) -> list[Run]:
    """Runs that were tested after their training had finished, which tables compare."""
    return [run for run in runs if run.test and not run.why_not_final]


def validation_charts(runs: Sequence[Run]) -> list[Chart]:
    """Validation charts for each dataset, with one color per label: by step, and by training time.

    The latter has the runs that were timed in the same way, and is left out if a label has none; see :func:`alike`.
    """
    charts = []
    for unit in UNITS:
        logged = [run for run in runs if run.curve(f"val/{unit}")]
        for data, group in datasets(logged).items():
            labels = sorted({run.label for run in group})
            curves = [Curve(run.short_name, run.curve(f"val/{unit}"), labels.index(run.label)) for run in group]
            y_label = unit_of(group[0], unit)
            charts.append(line_chart(curves, title=f"Validation on {data}", y_label=y_label, legend=labels))
            rows = {label: [run for run in group if run.label == label] for label in labels}
            timed = [
                Curve(run.short_name, [(seconds * x, y) for x, y in logged_values(run, unit)], labels.index(run.label))
                for run in (run for runs in alike(rows, clock).values() for run in runs)
                if (seconds := step_seconds(run)) is not None
            ]
            title = f"Validation on {data}, by training time without evaluation"
            charts.append(line_chart(timed, title=title, y_label=y_label, legend=labels, x_label=SECONDS))
    return [chart for chart in charts if chart]


def training_chart(run: Run) -> Chart | None:
    """Chart of a run's training and validation curves; None if it logged none."""
    for unit in UNITS:
        names = {"training": f"train/{unit}", "validation": f"val/{unit}"}
        curves = [Curve(each, run.curve(tag), i, thin=not i) for i, (each, tag) in enumerate(names.items())]
        title = f"Training and validation of {run.short_name}"
        if chart := line_chart(curves, title=title, y_label=unit_of(run, unit), legend=list(names)):
            return chart
    return None


def headline(run: Run) -> str:
    """The bound or likelihood of the test with its unit; empty without a test."""
    value, unit = tested_value(run)
    part = f", on {run.test['num_items']} items only" if run.test.get("is_partial") else ""
    return f"{value:.3f} {unit_of(run, unit)}{part}" if unit else ""


def unit_of(run: Run, unit: str) -> str:
    """Name of the unit of a run's metric: an nll is per node of a graph, per binary image of a VAE, or per vector."""
    module = str(run.config.get("model", {}).get("class_path", ""))
    if unit == "nll" and "VAE" in module:
        return "nats per image"
    return "nats" if unit == "nll" and "Vector" in module else UNITS[unit]


def model_name(run: Run) -> str:
    """Class of the tested flow, or of the posterior of a VAE."""
    return run.flow or run.posterior


def likelihood(run: Run) -> str:
    """The negative log-likelihood from importance samples, if the test drew any, in the unit of the bound."""
    return number(run.metrics, f"test/nll_{'bpd' if 'test/nll_bpd' in run.metrics else 'nats'}", digits=3)


def tested_value(run: Run) -> tuple[float, str]:
    """The bound or likelihood of the test and the name of its metric; infinite, and no name, without a test."""
    return next(((run.metrics[f"test/{u}"], u) for u in UNITS if f"test/{u}" in run.metrics), (math.inf, ""))


def number(record: dict[str, Any], key: str, *, scale: float = 1.0, digits: int = 0) -> str:
    """A value of a record with a fixed number of decimals; a dash if there is none."""
    return f"{record[key] * scale:.{digits}f}" if key in record else NONE


def _date(seconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
    except (ValueError, OverflowError, OSError):  # out of range
        return NONE
