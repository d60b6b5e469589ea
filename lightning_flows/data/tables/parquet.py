"""Tables in Parquet files, which require pyarrow."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightning_flows.data.tables.base import CHUNK, TableFile, check_width
from lightning_flows.data.tables.faults import not_finite
from lightning_flows.errors import DataError, shortened


class ParquetTable(TableFile):
    """Columns of numbers or booleans. Raises: DataError without pyarrow, and for a damaged file."""

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise DataError(
                f"{path} is a Parquet file, which pyarrow reads: pip install pyarrow, or export it as CSV"
            ) from error
        try:
            self.file: Any = pyarrow.parquet.ParquetFile(path)
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{path} is truncated or not a Parquet file: use a complete one") from error
        schema = self.file.schema_arrow
        check_width(path, len(schema.names))
        super().__init__(path, schema.names)
        self.kinds = [str(kind) for kind in schema.types]

    def max_rows(self) -> int:
        return self.file.metadata.num_rows

    def chunks(self, columns: Sequence[int]) -> Iterator[np.ndarray]:
        from pyarrow import ArrowInvalid, ArrowNotImplementedError

        for i in columns:
            if not self.kinds[i].startswith(("int", "uint", "float", "double", "halffloat", "bool", "decimal")):
                kind = self.kinds[i]
                raise DataError(f"{self.path}, column {self.names[i]}: {kind} is not a number: {self.advice(i)}")
        try:
            for batch in self.file.iter_batches(CHUNK, columns=[self.names[i] for i in columns]):
                by_name = dict(zip(batch.schema.names, batch.columns, strict=True))
                yield np.stack([_numbers(by_name[self.names[i]]) for i in columns], axis=1)
        except ArrowNotImplementedError as error:
            raise DataError(
                f"{self.path} cannot be read ({shortened(str(error))}): save it with another encoding"
            ) from error
        except (ArrowInvalid, OSError) as error:
            raise DataError(f"{self.path} is damaged ({shortened(str(error))}): use an intact copy") from error

    def fault(self, columns: Sequence[int], row: int, column: int) -> DataError:
        i = columns[column]
        values = self.file.read(columns=[self.names[i]]).column(0)
        problem = not_finite(float(_numbers(values.slice(row, 1))[0]))
        place = f"{self.path}, row {row + 1} (counted from 1), column {self.names[i]}"
        return DataError(f"{place}: {problem}, or {self.advice(i)}")


def _numbers(column: Any) -> np.ndarray:
    """Values as float64, with NaN where they are missing."""
    return column.cast("float64", safe=False).to_numpy(zero_copy_only=False).astype(np.float64)
