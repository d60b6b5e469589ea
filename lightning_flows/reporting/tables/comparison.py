"""Differences between the rows of a table: a table for each row that others are compared with."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence

from lightning_flows.errors import DataError
from lightning_flows.reporting.tables.curves import curve_columns, validations
from lightning_flows.reporting.tables.paired import Difference, paired
from lightning_flows.reporting.tables.rates import at_common_rates
from lightning_flows.reporting.tables.runs import Run
from lightning_flows.reporting.tables.table import NONE, Table
from lightning_flows.reporting.tables.timing import times_note

RESULTS = {"bpd": ("bpd", ("loss", "nll_bpd"), 4), "nll": ("nats", ("loss", "nll_nats"), 3)}
"""By the unit of the loss: its name, bound and likelihood of an item, and digits."""
MEANING = (
    "Δ: row minus first row on the same items with the same noise, averaged over common seeds; negative is better. "
    "± is the standard error over items; deviation is the standard deviation of Δ over seeds."
)
CURVES = (
    "Validation curves: the loss at equal training time, when the row with the shortest ends; the last crossing "
    "with the curve of the first row; the change over the last tenth of training; training minus validation loss at "
    "the end; the step with the lowest loss."
)

BETWEEN = "Variational minus uniform dequantization"
COMMON_RATES = "Each is at the best of the learning rates at which both were trained."
NO_CURVES = "Left out, because they end before the tested checkpoint or with a value that is not finite: the curves of"
KINDS = re.compile(r" \((?:uniform|variational)\)$|, pointwise nets$")
"""What names of rows add to those of their models."""
Rows = Mapping[str, Sequence[Run]]


def baselines(rows: Rows, baseline: str = "") -> dict[str, str]:
    """Map the name of each row to that of its baseline, and of a baseline to itself.

    The baseline of a row has the same dequantization and the same kind of nets: it is that of the model ``baseline``
    or, if there is none, the first.

    Args:
        rows: runs of each row, one per seed, by its name.
        baseline: model that the others are compared with, such as ``emerging``; empty for the first of the table.

    Raises: DataError if there are no runs of the baseline.
    """
    models = _models(rows)
    if baseline and baseline not in models.values():
        there = ", ".join(dict.fromkeys(models.values()))
        raise DataError(f"there are no tested runs of {baseline}, the baseline: train it, or choose from {there}")
    kinds: dict[tuple[str, bool], list[str]] = {}
    for name, runs in rows.items():
        kinds.setdefault((runs[0].dequantization, runs[0].is_pointwise), []).append(name)
    found: dict[str, str] = {}
    for names in kinds.values():
        first = next((name for name in names if models[name] == baseline), names[0])
        found |= dict.fromkeys(names, first)
    return found


def differences(rows: Rows, baseline: str = "", every: Rows | None = None) -> dict[str, Table]:
    """Tables of differences by their titles: from the :func:`baselines`, and between kinds of noise.

    Variational dequantization is compared with uniform dequantization of the same model, each at the best of the
    learning rates that both have.

    Args:
        rows: runs of each row at its learning rate, one per seed, by its name.
        baseline: see :func:`baselines`.
        every: runs of each row at all learning rates; by default ``rows``.

    Raises: see :func:`baselines`.
    """
    every = rows if every is None else every
    compared = baselines(rows, baseline)
    tables = {}
    for first in dict.fromkeys(compared.values()):
        group = {first: rows[first]} | {name: runs for name, runs in rows.items() if compared[name] == first}
        if len(group) > 1:
            table = _table([(name, runs, rows[first]) for name, runs in group.items()])
            header, cells = curve_columns(group, _unit(rows[first]))
            joined = [row + more for row, more in zip(table.rows, cells, strict=True)]
            note = f"{table.note} {CURVES}{_left_out(group, _unit(rows[first]))}"
            tables[f"Differences from {first}"] = Table(table.header + header, joined, note)
    models = _models(rows)
    pairs = [
        (models[name], *at_common_rates(every[name], every[uniform]))
        for name, runs in rows.items()
        if runs[0].dequantization == "variational" and (uniform := f"{models[name]} (uniform)") in rows
    ]
    both = [pair for pair in pairs if pair[1]]
    if not both:
        return tables
    table = _table(both)
    return tables | {BETWEEN: Table(table.header, table.rows, f"{table.note} {COMMON_RATES}")}


def _left_out(rows: Rows, unit: str) -> str:
    """Sentences on the curves and the times that are left out."""
    every = [run for runs in rows.values() for run in runs]
    text = f" {note}" if (note := times_note(rows)) else ""
    if names := [run.name for run in every if run.curve(f"val/{unit}") and not validations(run, unit)]:
        text += f" {NO_CURVES} {', '.join(names)}."
    return text


def _models(rows: Iterable[str]) -> dict[str, str]:
    return {name: KINDS.sub("", name) for name in rows}


def _unit(runs: Sequence[Run]) -> str:
    return "nll" if "test/nll" in runs[0].metrics else "bpd"


def _table(rows: Sequence[tuple[str, Sequence[Run], Sequence[Run]]]) -> Table:
    """Differences of runs to others, by name; dashes where these are the same."""
    unit, names, digits = RESULTS[_unit(rows[0][1])]
    header = ["model", f"Δ −ELBO ({unit})", "deviation", f"Δ NLL ({unit})", "deviation", "common seeds"]
    cells, problems, missing = [], [], False
    for name, runs, first in rows:
        found: list[Difference | None] = []
        for result in names:
            try:
                found.append(None if runs is first else paired(runs, first, result))
            except DataError as error:
                found.append(None)
                problems.append(f"{name} was not compared: {error}.")
        missing |= runs is not first and not any(found)
        seeds = max((each.num_seeds for each in found if each), default=None)
        columns = [cell for each in found for cell in _cells(each, digits)]
        cells.append([name, *columns, NONE if seeds is None else str(seeds)])
    if missing and not problems:
        problems.append(f"{NONE}: no common seed has results of each item in both rows; rerun `test` for runs without.")
    return Table(header, cells, " ".join([MEANING, *dict.fromkeys(problems)]))


def _cells(difference: Difference | None, digits: int) -> list[str]:
    """Δ ± its standard error, and the deviation over seeds.

    >>> _cells(Difference(-0.0621, 0.0012, 0.004, 3), 4), _cells(Difference(0.5, 0.01, None, 1), 3), _cells(None, 3)
    (['−0.0621 ± 0.0012', '0.0040'], ['+0.500 ± 0.010', '–'], ['–', '–'])
    """
    if difference is None:
        return [NONE, NONE]
    mean, error, deviation, _ = difference
    text = f"{mean:+.{digits}f}".replace("-", "−")
    text += f" ± {error:.{digits}f}" if math.isfinite(error) else ""
    return [text, NONE if deviation is None else f"{deviation:.{digits}f}"]
