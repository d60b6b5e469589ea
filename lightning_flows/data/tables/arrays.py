"""Tables in NumPy's .npy and .npz files."""

import math
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from lightning_flows.data.tables.base import CHUNK, TableFile, check_width, numbered, shown
from lightning_flows.data.tables.faults import not_finite
from lightning_flows.errors import DataError


class ArrayTable(TableFile):
    """An array (N, D) or (N,) of numbers in a .npy file, or in a member of an .npz file.

    Only its header is read at first, and then a chunk of rows at a time.
    """

    def __init__(self, path: Path, member: str | None) -> None:
        self.member = member
        with _opened(path, member) as file:
            self.shape, self.fortran_order, self.dtype = _header(path, file)
        if not 1 <= len(self.shape) <= 2:
            raise DataError(f"{path} has an array of shape {self.shape}: use one of shape (rows, columns)")
        if self.dtype.kind not in "biuf":
            raise DataError(f"{path} has an array of {str(self.dtype)[:60]}: use integers or floating-point numbers")
        check_width(path, math.prod(self.shape[1:]))
        super().__init__(path, numbered(math.prod(self.shape[1:])), has_names=False)

    def max_rows(self) -> int:
        return self.shape[0]

    def chunks(self, columns: Sequence[int]) -> Iterator[np.ndarray]:
        num, width = self.shape[0], len(self.names)
        with _opened(self.path, self.member) as file:
            _header(self.path, file)
            if self.fortran_order and width > 1:  # columns one after another
                yield np.stack(list(self._columns(file, columns)), axis=1)
                return
            for start in range(0, num, CHUNK):
                count = min(CHUNK, num - start)
                yield self._values(file, count * width).reshape(count, width)[:, list(columns)]

    def fault(self, columns: Sequence[int], row: int, column: int) -> DataError:
        with _opened(self.path, self.member) as file:
            _header(self.path, file)
            width, i = len(self.names), columns[column]
            before = i * self.shape[0] + row if self.fortran_order and width > 1 else row * width + i
            while before:
                before -= len(self._values(file, min(before, CHUNK)))
            value = float(self._values(file, 1)[0])
        place = f"row {row + 1}, column {i + 1}"
        return DataError(f"{self.path}, {place} (counted from 1): {not_finite(value)}, or {self.advice(i)}")

    def _columns(self, file: IO[bytes], columns: Sequence[int]) -> Iterator[np.ndarray]:
        found = {}
        for i in range(len(self.names)):
            values = self._values(file, self.shape[0])
            if i in columns:
                with np.errstate(over="ignore"):
                    found[i] = values.astype(np.float32)
        yield from (found[i] for i in columns)

    def _values(self, file: IO[bytes], num: int) -> np.ndarray:
        data = file.read(num * self.dtype.itemsize)
        if len(data) < num * self.dtype.itemsize:
            raise DataError(f"{self.path} is truncated: use a complete file")
        return np.frombuffer(data, self.dtype)


def open_array(path: Path) -> ArrayTable:
    """Open a .npy file. Raises: DataError."""
    return ArrayTable(path, None)


def open_archive(path: Path, array: str | None) -> ArrayTable:
    """Open an array of an .npz file; ``array`` names it if there are several. Raises: DataError."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DataError(f"{path} is truncated or not an .npz file: use a complete one") from error
    if not names:
        raise DataError(f"{path} is an archive without NumPy arrays: export a spreadsheet as CSV")
    if array is None and len(names) > 1:
        raise DataError(f"{path} has several arrays ({shown(names)}): choose one with --data.array")
    if array is not None and array not in names:
        raise DataError(f"{path} has no array {shown([array])}: choose one of {shown(names)} with --data.array")
    return ArrayTable(path, f"{array or names[0]}.npy")


@contextmanager
def _opened(path: Path, member: str | None) -> Iterator[IO[bytes]]:
    if member is None:
        with path.open("rb") as file:
            yield file
        return
    try:
        with zipfile.ZipFile(path) as archive, archive.open(member) as file:
            yield file
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:  # damaged or encrypted
        raise DataError(f"{path} is damaged ({str(error)[:80]}): use a complete file") from error


def _header(path: Path, file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read shape, whether columns come first, and dtype; the file is then at the first value."""
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return read(file)
    except (ValueError, EOFError) as error:
        raise DataError(f"{path} is truncated or not a NumPy array: use a complete file") from error
