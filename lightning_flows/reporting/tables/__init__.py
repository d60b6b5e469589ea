"""Tables of the paper, and one of VAEs, from finished runs."""

from collections.abc import Callable, Sequence

from lightning_flows.reporting.tables.comparison import differences
from lightning_flows.reporting.tables.runs import Run, find_runs
from lightning_flows.reporting.tables.table import Table
from lightning_flows.reporting.tables.table1 import rows1, table1
from lightning_flows.reporting.tables.table2 import rows2, rows3, table2, table3
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
"""Runs of the rows of tables 1 to 3 by their names."""


def differences_in(table: int | str, runs: Sequence[Run]) -> dict[str, Table]:
    """Differences between the rows of a table, by title; none for Table 4. For errors see the table itself."""
    rows = rows_vae if table == "vae" else ROWS.get(table)
    return differences(rows(runs)) if rows else {}


__all__ = [
    "ROWS",
    "TABLES",
    "Run",
    "Table",
    "differences_in",
    "find_runs",
    "table1",
    "table2",
    "table3",
    "table4",
    "table_vae",
]
