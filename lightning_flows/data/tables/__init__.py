"""Tables of numbers in files: text, NumPy arrays and Parquet, read in chunks."""

from lightning_flows.data.tables.base import MAX_COLUMNS, TableFile, chosen_columns
from lightning_flows.data.tables.opening import open_table

__all__ = ["MAX_COLUMNS", "TableFile", "chosen_columns", "open_table"]
