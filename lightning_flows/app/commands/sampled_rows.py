"""Samples of vectors as a CSV file."""

import csv
import io
import math
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, NamedTuple

from lightning_flows.data.tables.base import numbered
from lightning_flows.errors import UsageError
from lightning_flows.modules import FlowModule, VectorFlowModule


class Columns(NamedTuple):
    """Names of the columns of a table, and which of them were dequantized integers."""

    names: list[str]
    integer: frozenset[int]

    def text(self, row: Sequence[float]) -> list[str]:
        """The values of a sample as text; a dequantized integer is the sample rounded down.

        Nine digits represent a float32 exactly.

        >>> Columns(["a", "b"], frozenset({1})).text([0.5, 3.75])
        ['0.5', '3']
        """
        found = [math.floor(x) if i in self.integer and math.isfinite(x) else x for i, x in enumerate(row)]
        return [f"{x:.9g}" for x in found]


def sample_rows(
    model: FlowModule,
    columns: Columns,
    file: BinaryIO,
    num: int,
    *,
    batch_size: int,
    progress: Callable[[int], object] = int,
    **options: Any,
) -> int:
    """Write ``num`` samples, one per line below the names of the columns; return how many values are not finite.

    Memory does not depend on ``num``. ``progress`` is called with the number of rows of each batch.

    Raises: UsageError for a model of images or graphs.
    """
    if not isinstance(model, VectorFlowModule):
        raise UsageError(
            f"a CSV file is for rows, and the model has events of shape {model.event_shape}: choose an --out that ends "
            "in .png"
        )
    non_finite = 0
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns.names)
    for start in range(0, num, batch_size):
        rows = model.sample(min(batch_size, num - start), **options).cpu()
        non_finite += int((~rows.isfinite()).sum())
        writer.writerows(map(columns.text, rows.tolist()))
        progress(len(rows))
    text.detach()  # flushed, but still open: its owner closes it
    return non_finite


def recorded_columns(checkpoint: dict[str, Any], size: int) -> Columns:
    """Columns that a model was trained on; they are numbered if its checkpoint does not name them."""
    arguments = checkpoint["lightning_flows"].get("data", {}).get("init_args", {})
    names, noisy = arguments.get("columns"), arguments.get("dequantize")
    if not (isinstance(names, list) and len(names) == size and all(isinstance(name, str) for name in names)):
        return Columns(numbered(size), frozenset())
    return Columns(names, frozenset(i for i, name in enumerate(names) if isinstance(noisy, list) and name in noisy))
