"""Arrays of known shape in files of NumPy and MATLAB; nothing in a file is executed."""

import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from lightning_flows.data.datasets.decoding import reason
from lightning_flows.data.datasets.memory import free_memory
from lightning_flows.data.datasets.sources import printable
from lightning_flows.errors import DataError

Shape = Sequence[int | None]
"""Sizes of an array; None stands for any."""
NUMBERS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "single", "double", "logical"]
"""MATLAB's classes of arrays of numbers."""


@contextmanager
def reading(path: Path, remedy: str) -> Iterator[None]:
    """Raise any error in the block as a DataError of one line: the file, the fact, then ``remedy``.

    A DataError in the block states the fact without the file, such as "has images of shape …".
    """
    try:
        yield
    except DataError as error:
        raise DataError(f"{printable(path)} {error}: {remedy}") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{printable(path)} does not exist: {remedy}") from error
    except Exception as error:  # readers may raise anything for a damaged file
        why = getattr(error, "strerror", None) or reason(error)
        raise DataError(f"{printable(path)} cannot be read ({printable(why)}): {remedy}") from error


def read_array(path: Path, name: str, shape: Shape) -> np.ndarray:
    """Read the named array of an .npz file, or an .npy file.

    Raises: DataError if it is missing or has another shape; errors of NumPy.
    """
    with _opened(path, name) as file:
        return read_npy(file, name, shape)


def names_in(path: Path) -> list[str]:
    """Return the names of the arrays in an .npz file; none for an .npy file."""
    if path.suffix.lower() == ".npy":
        return []
    with zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def shape_of(path: Path, name: str) -> tuple[int, ...]:
    """Return the shape of the named array of an .npz file, or of an .npy file, from its header."""
    with _opened(path, name) as file:
        return _header(file)[0]


def read_mat(path: Path, shapes: Mapping[str, Shape]) -> list[np.ndarray]:
    """Read arrays of numbers of a MATLAB file of version 4 to 7, by name. Raises: DataError as the others; of SciPy."""
    from scipy import io  # not needed by any other data

    with path.open("rb") as file:
        found = {name: (shape, kind) for name, shape, kind in io.whosmat(file)}
        for name, expected in shapes.items():
            if name not in found:
                raise DataError(f"has no array {name!r}, but {printable(', '.join(found)) or 'nothing'}")
            shape, kind = found[name]
            if kind not in NUMBERS:
                raise DataError(f"has {name} of class {kind}, not of numbers")
            check_shape(name, shape, expected)
        file.seek(0)
        arrays = io.loadmat(file, variable_names=list(shapes))
    return [arrays[name] for name in shapes]


def to_levels(values: np.ndarray, *, rounded: bool = False) -> np.ndarray:
    """Return gray levels 0 to 255 as uint8, from such numbers or from multiples of 1/255 in [0, 1].

    Args:
        values: numbers of any shape.
        rounded: round any number from 0 to 255, or from 0 to 1, to the nearest level.

    Raises: DataError for other numbers.
    """
    if values.dtype == np.uint8:
        return values
    scaled = values.astype(np.float64)
    if values.dtype.kind == "f" and scaled.size and scaled.max() <= 1:
        scaled *= 255
    levels, tolerance = np.rint(scaled), 0.5 if rounded else 1e-2
    valid = np.isfinite(scaled).all() and levels.min() >= 0 and levels.max() <= 255
    if not (valid and (np.abs(scaled - levels) <= tolerance).all()):
        raise DataError("has values that are neither levels 0 to 255 nor multiples of 1/255 from 0 to 1")
    return levels.astype(np.uint8)


def check_shape(name: str, found: Sequence[int], expected: Shape) -> None:
    """Raise DataError unless ``found`` is the expected shape."""
    if len(found) != len(expected) or any(e not in (None, f) for f, e in zip(found, expected, strict=True)):
        sizes = " x ".join("any" if size is None else str(size) for size in expected)
        raise DataError(f"has {name} of shape {' x '.join(map(str, found))}, not {sizes}")


@contextmanager
def _opened(path: Path, name: str) -> Iterator[IO[bytes]]:
    """Open an .npy file, or one array of an .npz file."""
    if path.suffix.lower() == ".npy":
        with path.open("rb") as file:
            yield file
        return
    if name not in (names := names_in(path)):
        raise DataError(f"has no array {name!r}, but {printable(', '.join(names[:5])) or 'nothing'}")
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as member:
        yield member


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Return shape, order (True for Fortran's) and dtype."""
    version = npy.read_magic(file)
    return (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(file)


def read_npy(file: IO[bytes], name: str, shape: Shape) -> np.ndarray:
    """Read an array in NumPy's format, whose header is checked before memory is allocated.

    Raises: DataError if it has another shape or is not one of numbers; errors of NumPy.
    """
    found, fortran, dtype = _header(file)
    check_shape(name, found, shape)
    if dtype.kind not in "buif":
        raise DataError(f"has {name} of {dtype}, not of numbers")
    if (size := math.prod(found) * dtype.itemsize) > free_memory():
        raise DataError(f"has {name} of {size / 2**30:.1f} GiB, more than the free memory")
    content = file.read(size)
    if len(content) != size:
        raise DataError(f"has only {len(content)} of {size} bytes of {name}")
    values = np.frombuffer(content, dtype)
    return values.reshape(found[::-1]).T if fortran else values.reshape(found)
