"""Open a table by the content of its file."""

from pathlib import Path

from lightning_flows.data.tables.arrays import open_archive, open_array
from lightning_flows.data.tables.base import TableFile
from lightning_flows.data.tables.parquet import ParquetTable
from lightning_flows.data.tables.text import open_text
from lightning_flows.errors import DataError

EXAMPLE = "pass a CSV, .npy, .npz or Parquet file with --data.path"


def open_table(
    path: str | Path, *, header: bool | None = None, delimiter: str | None = None, array: str | None = None
) -> TableFile:
    """Open a table of numbers; its values are not read yet.

    Args:
        path: text with a number per field, .npy, .npz or Parquet, whatever its suffix.
        header: whether the first line of text names the columns; default: if it is not numbers.
        delimiter: what separates the fields of text; default: tab, ``;``, ``,``, ``|`` or spaces, whichever fits.
        array: name of the array in an .npz file with several.

    Raises: DataError if the file is missing, empty, cannot be read, or is no such file.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise DataError(f"{path} is a folder: {EXAMPLE}")
        with path.open("rb") as file:
            start = file.read(8)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: {EXAMPLE}") from None
    except (OSError, ValueError) as error:  # a name that is too long or contains NUL
        raise DataError(f"{str(path)[:80]!r} cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if not start:
        raise DataError(f"{path} is empty: {EXAMPLE}")
    if start.startswith(b"\x93NUMPY"):
        return open_array(path)
    if start.startswith(b"PK"):
        return open_archive(path, array)
    if start.startswith(b"PAR1"):
        return ParquetTable(path)
    if start.startswith(b"\x1f\x8b"):
        raise DataError(f"{path} is compressed: decompress it first, for example with gunzip")
    return open_text(path, header=header, delimiter=delimiter)
