"""Tables of the paper, from finished runs."""

from lightning_flows.reporting.tables.runs import Run, find_runs
from lightning_flows.reporting.tables.table import Table
from lightning_flows.reporting.tables.table1 import table1
from lightning_flows.reporting.tables.table2 import table2, table3
from lightning_flows.reporting.tables.table4 import table4

TABLES = {1: table1, 2: table2, 3: table3, 4: table4}
"""Tables by number: functions of runs, which select those of their experiment."""

__all__ = ["TABLES", "Run", "Table", "find_runs", "table1", "table2", "table3", "table4"]
