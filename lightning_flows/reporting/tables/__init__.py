"""Tables of the paper, and one of VAEs, from finished runs."""

from collections.abc import Callable, Sequence

from lightning_flows.reporting.tables.comparison import baselines, differences
from lightning_flows.reporting.tables.rates import chosen, rates_table
from lightning_flows.reporting.tables.runs import Run, find_runs
from lightning_flows.reporting.tables.table import Table
from lightning_flows.reporting.tables.table1 import PAPER, rows1, table1
from lightning_flows.reporting.tables.table2 import CLASSES, TABLE2, TABLE3, rows2, rows3, table2, table3
from lightning_flows.reporting.tables.table4 import table4
from lightning_flows.reporting.tables.vae import rows_vae, table_vae

TABLES: dict[int | str, Callable[[Sequence[Run]], Table]] = {
    1: table1,
    2: table2,
    3: table3,
    4: table4,
    "vae": table_vae,
}
"""Tables by number or name: functions of runs, which select those of their experiment."""
ROWS: dict[int | str, Callable[[Sequence[Run]], dict[str, list[Run]]]] = {1: rows1, 2: rows2, 3: rows3}
"""Runs of the rows of tables 1 to 3 by their names, at all learning rates."""
FLOWS: dict[int | str, set[str]] = {
    1: {"GlowFlow"}, 2: set(CLASSES), 3: {"ConvSylvesterFlow"},
    4: {"GraphCouplingFlow", "GraphNormalizingFlow", "SetAutoregressiveFlow"}, "vae": {""},
}  # fmt: skip
"""Classes of the flows of the tables; a VAE has none."""
MODELS: dict[int | str, list[str]] = {
    number: [row.name for row in rows.values()] for number, rows in ((1, PAPER), (2, TABLE2), (3, TABLE3))
}
"""Models of tables 1 to 3, each of which has a row or more."""


def rows_in(table: int | str, runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs of the rows of a table that are compared, one per seed, at the best learning rate; none for Table 4.

    Errors are those of the table.
    """
    if table == "vae":
        return rows_vae(runs)
    return _at_best_rates(ROWS[table](runs)) if table in ROWS else {}


def supplements(table: int | str, runs: Sequence[Run], baseline: str = "") -> dict[str, Table]:
    """Tables that follow a table, by title: results at each learning rate, and differences between rows, if any.

    ``baseline`` and errors are those of :func:`differences` and of the table.
    """
    if table not in ROWS:
        rows = rows_in(table, runs)
        return differences(rows, baseline) if rows else {}
    every = ROWS[table](runs)
    rates = rates_table(every)
    return ({"Learning rates": rates} if rates else {}) | differences(_at_best_rates(every), baseline, every)


def _at_best_rates(rows: dict[str, list[Run]]) -> dict[str, list[Run]]:
    return {name: chosen(runs) for name, runs in rows.items()}


__all__ = [
    "FLOWS",
    "MODELS",
    "ROWS",
    "TABLES",
    "Run",
    "Table",
    "baselines",
    "find_runs",
    "rows_in",
    "supplements",
    "table1",
    "table2",
    "table3",
    "table4",
    "table_vae",
]
