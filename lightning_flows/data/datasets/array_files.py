"""Arrays of known shape in published files: NumPy's .npy and .npz; nothing in a file is executed."""

import zipfile
from collections.abc import Iterator, Sequence
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


def read_npz(path: Path, name: str, shape: Shape) -> np.ndarray:
    """Read one array of an .npz file. Raises: DataError if it is missing or has another shape; errors of NumPy."""
    with zipfile.ZipFile(path) as archive:
        if f"{name}.npy" not in (names := archive.namelist()):
            found = ", ".join(each.removesuffix(".npy") for each in names[:5]) or "nothing"
            raise DataError(f"has no array {name!r}, but {printable(found)}")
        with archive.open(f"{name}.npy") as file:
            return _read(file, name, shape)


def read_npy(path: Path, shape: Shape) -> np.ndarray:
    """Read an .npy file. Raises: DataError if the array has another shape; errors of NumPy."""
    with path.open("rb") as file:
        return _read(file, "the array", shape)


def check_shape(name: str, found: Sequence[int], expected: Shape) -> None:
    """Raise DataError unless ``found`` is the expected shape."""
    if len(found) != len(expected) or any(e not in (None, f) for f, e in zip(found, expected, strict=True)):
        sizes = " x ".join("any" if size is None else str(size) for size in expected)
        raise DataError(f"has {name} of shape {' x '.join(map(str, found))}, not {sizes}")


def _read(file: IO[bytes], name: str, shape: Shape) -> np.ndarray:
    """Read an array, whose header is checked before memory is allocated."""
    version = npy.read_magic(file)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    found, fortran, dtype = read_header(file)
    check_shape(name, found, shape)
    if dtype.kind not in "buif":
        raise DataError(f"has {name} of {dtype}, not of numbers")
    count = int(np.prod(found, dtype=object))
    if (size := count * dtype.itemsize) > free_memory():
        raise DataError(f"has {name} of {size / 2**30:.1f} GiB, more than the free memory")
    content = file.read(size)
    if len(content) != size:
        raise DataError(f"has only {len(content)} of {size} bytes of {name}")
    values = np.frombuffer(content, dtype)
    return values.reshape(found[::-1]).T if fortran else values.reshape(found)
