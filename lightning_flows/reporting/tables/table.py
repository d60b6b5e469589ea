"""Tables of plain cells, printed as Markdown, or as HTML by the template of a report."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

NONE = "–"
"""Cell of a missing value."""


class Table(NamedTuple):
    """Cells of a table, and a note that follows it.

    >>> print(Table(["a", "b"], [["1", "2"]], "Measured here.").markdown())
    | a | b |
    |---|---|
    | 1 | 2 |
    <BLANKLINE>
    Measured here.
    """

    header: list[str]
    rows: list[list[str]]
    note: str = ""

    def markdown(self) -> str:
        """The table as Markdown."""
        header, *rows = (f"| {' | '.join(row)} |" for row in (self.header, *self.rows))
        return "\n".join([header, f"|{'---|' * len(self.header)}", *rows, *(["", self.note] if self.note else [])])


def mean_and_deviation(values: Sequence[float], *, digits: int = 3) -> str:
    """Mean ± standard deviation; a single value has no deviation.

    >>> mean_and_deviation([3.0, 3.2]), mean_and_deviation([3.0]), mean_and_deviation([])
    ('3.100 ± 0.141', '3.000', '–')
    """
    if not values:
        return NONE
    mean = f"{statistics.fmean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def median(values: Sequence[float], *, digits: int = 0) -> str:
    """Median; a dash without values.

    >>> median([1.0, 3.0, 8.0]), median([])
    ('3', '–')
    """
    return f"{statistics.median(values):.{digits}f}" if values else NONE
