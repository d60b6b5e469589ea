"""A table in a file: its columns, and its values as float32, checked while they are read."""

import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lightning_flows.data.datasets.memory import free_memory
from lightning_flows.errors import DataError

MAX_COLUMNS = 4096
"""Columns of a table; models of more would not fit in memory."""
CHUNK = 2**16
"""Rows that are read at once."""


class TableFile(ABC):
    """A table in a file, of which only the names of the columns have been read.

    Args:
        path: the file with the table.
        names: names of all columns.
        has_names: whether the file contains them.

    Raises: DataError for no column, more than 4,096, or several of the same name.
    """

    def __init__(self, path: Path, names: Sequence[str], *, has_names: bool = True) -> None:
        self.path, self.names, self.has_names = path, list(names), has_names
        check_width(path, len(self.names))
        if not self.names:
            raise DataError(f"{path} has no columns: use a table of numbers")
        repeated = sorted({name for name in self.names if self.names.count(name) > 1}, key=self.names.index)
        if repeated:
            raise DataError(
                f"{path} has several columns of the same name ({shown(repeated)}): rename all but one of each"
            )

    @abstractmethod
    def max_rows(self) -> int:
        """An upper bound of the number of rows, found without reading the values."""

    @abstractmethod
    def chunks(self, columns: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield the values of some columns ``(n, len(columns))`` in order of the rows."""

    @abstractmethod
    def fault(self, columns: Sequence[int], row: int, column: int) -> DataError:
        """The error for a value that is not finite in float32, at position ``column`` of ``columns``."""

    def read(self, columns: Sequence[int]) -> Tensor:
        """Return float32 ``(N, len(columns))``.

        Raises: DataError, which names row and column, for text, missing, infinite or NaN values, and for more values
        than fit in memory.
        """
        num, free = self.max_rows(), free_memory()
        if (needed := 4 * num * len(columns)) > free:
            raise DataError(
                f"{self.path} has up to {num:,} rows of {len(columns)} columns, which need {needed / 2**30:.1f} GiB of "
                f"memory, of which {free / 2**30:.1f} GiB are free: use a smaller table"
            )
        values, start = torch.empty(num, len(columns)), 0
        for chunk in self.chunks(columns):
            part = values[start : start + len(chunk)].numpy()
            with np.errstate(over="ignore"):
                part[:] = chunk
            if not np.isfinite(part).all():
                row, column = np.argwhere(~np.isfinite(part))[0]
                raise self.fault(columns, start + int(row), int(column))
            start += len(chunk)
        return values if start == num else values[:start].clone()

    def advice(self, column: int) -> str:
        """How to leave out a column."""
        return f"leave out the column with --data.drop={shlex.quote(self.names[column])}"


def chosen_columns(table: TableFile, columns: Sequence[str] | None, drop: Sequence[str]) -> list[int]:
    """Return the positions of ``columns``, by default all, without those in ``drop``.

    Raises: DataError for a name that the table does not have, or is given twice, and if no column is left.
    """
    for name in (*(columns or ()), *drop):
        if name not in table.names:
            close = get_close_matches(name, table.names, 1)
            advice = f"did you mean {shown(close)}?" if close else f"it has {shown(table.names)}"
            raise DataError(f"{table.path} has no column {shown([name])}: {advice}")
    chosen = [name for name in (table.names if columns is None else columns) if name not in drop]
    if len(set(chosen)) < len(chosen):
        raise DataError(f"expected each column once; got {shown(chosen)}: remove the repeated ones from data.columns")
    if not chosen:
        raise DataError(f"no column of {table.path} is left: use fewer in data.drop")
    return [table.names.index(name) for name in chosen]


def check_width(path: Path, num_columns: int) -> None:
    """Raise DataError for more columns than :data:`MAX_COLUMNS`."""
    if num_columns > MAX_COLUMNS:
        raise DataError(f"{path} has {num_columns:,} columns, and at most {MAX_COLUMNS:,} are supported: use fewer")


def numbered(num: int) -> list[str]:
    """Names of columns that have none.

    >>> numbered(2)
    ['column_1', 'column_2']
    """
    return [f"column_{i + 1}" for i in range(num)]


def shown(names: Sequence[str], limit: int = 8) -> str:
    """Names in an error message, on one line.

    >>> shown(["a", "b c", "d"], limit=2)
    'a, b c and 1 more'
    """
    short = [name if len(name) <= 40 and name.isprintable() and name else repr(name[:40]) for name in names[:limit]]
    return ", ".join(short) + (f" and {len(names) - limit} more" if len(names) > limit else "")
