"""Tables of the paper, from finished runs."""

from lightning_flows.reporting.tables.runs import Run, find_runs
from lightning_flows.reporting.tables.table1 import table1
from lightning_flows.reporting.tables.table2 import table2, table3
from lightning_flows.reporting.tables.table4 import table4

__all__ = ["Run", "find_runs", "table1", "table2", "table3", "table4"]
