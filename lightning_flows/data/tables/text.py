"""Tables in text files, such as CSV."""

import csv
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from lightning_flows.data.tables.base import CHUNK, TableFile, numbered, shown
from lightning_flows.data.tables.faults import is_missing, is_number, why_not
from lightning_flows.errors import DataError

DELIMITERS = "\t;,| "
"""Tried in this order; a space stands for any white space."""
MAX_LINE = 2**20
"""Bytes of a line."""
SAMPLED = 20
"""Lines from which delimiter and header are detected."""


def open_text(path: Path, *, header: bool | None = None, delimiter: str | None = None) -> "TextTable":
    """Detect delimiter and header of a text file. Raises: DataError if it is no text, or has no values."""
    if delimiter is not None and len(delimiter) != 1:
        raise DataError(f"expected a --data.delimiter of one character; got {delimiter!r}")
    lines = _first_lines(path)
    if not lines:
        raise DataError(f"{path} is empty: pass a table of numbers with --data.path")
    if header is None and lines[0].lstrip().startswith("#"):  # as numpy.savetxt writes a header
        header, lines[0] = True, lines[0].lstrip()[1:]
    if delimiter is None:
        delimiter = _delimiter(lines)
    rows = list(_fields(iter(lines), delimiter))
    first, *others = (fields for _, fields in rows)
    if header is None:
        header = _is_header(first, others)
    if not header:
        return TextTable(path, numbered(len(first)), delimiter, header=False)
    names = [name.strip() for name in first]
    if any("\udc80" <= letter <= "\udcff" for name in names for letter in name):
        raise DataError(f"{path}, line {rows[0][0]}: the names of the columns are not UTF-8 text: save it as UTF-8")
    if not others:
        raise DataError(f"{path} has a header, and no rows: add some, or pass --data.header=false if it is a row")
    return TextTable(
        path,
        [name or fallback for name, fallback in zip(names, numbered(len(names)), strict=True)],
        delimiter,
        header=True,
    )


class TextTable(TableFile):
    """Lines of numbers, separated by ``delimiter``; empty lines are skipped."""

    def __init__(self, path: Path, names: Sequence[str], delimiter: str, *, header: bool) -> None:
        super().__init__(path, names, has_names=header)
        self.delimiter, self.header = delimiter, header

    def max_rows(self) -> int:
        """Count lines, and check that none is too long to be read."""
        num, length, last = 1, 0, 0
        with self.path.open("rb") as file:
            while block := file.read(MAX_LINE):
                values = np.frombuffer(block, np.uint8)
                ends = np.flatnonzero((values == 10) | (values == 13))
                inner = np.diff(ends, prepend=-1 - last, append=len(block) - 1)
                num, length = num + len(ends), max(length, int(inner.max()))
                last = int(inner[-1])
                if length > MAX_LINE:
                    raise DataError(f"{self.path} has a line of more than 1 MiB: use a table of numbers")
        return num

    def chunks(self, columns: Sequence[int]) -> Iterator[np.ndarray]:
        complete = list(columns) == list(range(len(self.names)))
        # text in the other columns may be anything
        kinds = np.dtype([(str(i), "f8" if i in set(columns) else "U1") for i in range(len(self.names))])
        with _opened(self.path) as file, warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*contained no data")  # an empty line, or the end
            if self.header:
                self._skip_header(file)
            while True:
                try:
                    found = np.loadtxt(
                        file,
                        dtype="f8" if complete else kinds,
                        delimiter=None if self.delimiter == " " else self.delimiter,
                        comments=None,
                        quotechar='"',
                        max_rows=CHUNK,
                        ndmin=2 if complete else 1,
                    )
                except ValueError as error:
                    raise self._first_fault(columns, str(error)) from None
                if not len(found) or not found.size:
                    return
                if complete and found.shape[1] != len(self.names):
                    raise self._first_fault(columns, f"{found.shape[1]} fields")
                yield found if complete else np.stack([found[str(i)] for i in columns], axis=1)

    def fault(self, columns: Sequence[int], row: int, column: int) -> DataError:
        return self._first_fault(columns, "a value is not finite")

    def _first_fault(self, columns: Sequence[int], reason: str) -> DataError:
        """Find the first line that cannot be read, one field after another."""
        num = len(self.names)
        try:
            with _opened(self.path) as file:
                if self.header:
                    skipped = self._skip_header(file)
                for line, fields in _fields(file, self.delimiter, skipped if self.header else 0):
                    if len(fields) != num:
                        return DataError(
                            f"{self.path}, line {line}: {len(fields)} fields, and the first line has {num}: correct it"
                        )
                    for i in columns:
                        if problem := why_not(fields[i]):
                            place = f"{self.path}, line {line}, column {i + 1} ({shown([self.names[i]])})"
                            return DataError(f"{place}: {problem}, or {self.advice(i)}")
        except csv.Error as error:
            reason = str(error)
        return DataError(f"{self.path} cannot be read as a table ({' '.join(reason.split())[:120]}): correct it")

    def _skip_header(self, file: IO[str]) -> int:
        """Advance to the line after the header; return the number of lines up to there."""
        for number, text in enumerate(iter(file.readline, ""), 1):
            if text.strip():
                return number
        return 0


def _opened(path: Path) -> IO[str]:
    """Open text; bytes that are not UTF-8 become surrogates, which no number contains."""
    return path.open(encoding="utf-8-sig", errors="surrogateescape")


def _first_lines(path: Path) -> list[str]:
    """The first lines that are not empty. Raises: DataError if the file is no text, or a line too long."""
    lines: list[str] = []
    with _opened(path) as file:
        while len(lines) < SAMPLED and (line := file.readline(MAX_LINE)):
            if "\0" in line:
                raise DataError(f"{path} is not text in UTF-8: pass a CSV, .npy, .npz or Parquet file")
            if len(line) >= MAX_LINE:
                raise DataError(f"{path} has a line of more than 1 MiB: use a table of at most 4,096 columns")
            lines += [line] if line.strip() else []
    return lines


def _fields(lines: Iterator[str], delimiter: str, skipped: int = 0) -> Iterator[tuple[int, list[str]]]:
    """Yield line numbers and the fields of each line that is not empty."""
    spaced = delimiter == " "
    reader = csv.reader((" ".join(line.split()) for line in lines) if spaced else lines, delimiter=delimiter)
    for fields in reader:
        if fields:
            yield skipped + reader.line_num, fields


def _delimiter(lines: Sequence[str]) -> str:
    """The first delimiter that splits all lines into equally many fields, or else the first line into most."""
    counts = {}
    for delimiter in DELIMITERS:
        try:
            counts[delimiter] = [len(fields) for _, fields in _fields(iter(lines), delimiter)]
        except csv.Error:
            continue
        if len(set(counts[delimiter])) == 1 and counts[delimiter][0] > 1:
            return delimiter
    found = {delimiter: each[0] for delimiter, each in counts.items() if each and each[0] > 1 and delimiter != " "}
    return max(found, key=lambda each: found[each]) if found else ","


def _is_header(first: Sequence[str], others: Sequence[Sequence[str]]) -> bool:
    """Whether the first line names the columns: it has no number, or text above a number.

    >>> _is_header(["a", "b"], [["1", "x"]]), _is_header(["1", "x"], [["2", "y"]]), _is_header(["1"], [])
    (True, False, False)
    """
    if not any(is_number(field) for field in first):
        return not all(is_missing(field) for field in first)
    below = others[0] if others else []
    return any(not is_number(a) and not is_missing(a) and is_number(b) for a, b in zip(first, below, strict=False))
