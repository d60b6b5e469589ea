"""Rows of a table in memory."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_flows.data.datasets.batches import BatchDataset
from lightning_flows.functional.philox import Streams, streams


class RowDataset(BatchDataset):
    """Some rows of a table ``(N, D)``, which is not copied: ``{"row": (D,), "index": int64 ()}``.

    Args:
        values: the table.
        positions: which rows, int64 ``(M,)``; default: all.
        dequantized: columns of integers to which noise uniform in [0, 1) is added: new noise for each training item,
            and always the same for a row of the table that is evaluated. Rounded down, the sum is the integer.
        seed: seed of the noise of evaluated items.

    >>> import torch
    >>> RowDataset(torch.arange(6.0).view(3, 2), torch.tensor([0, 2])).batch(torch.tensor([1]))
    {'row': tensor([[4., 5.]]), 'index': tensor([1])}
    """

    def __init__(
        self,
        values: Tensor,
        positions: Tensor | None = None,
        *,
        dequantized: Sequence[int] = (),
        seed: int = 0,
    ) -> None:
        self.values, self.positions = values, positions
        self.dequantized, self.seed = list(dequantized), seed

    def __len__(self) -> int:
        return len(self.values if self.positions is None else self.positions)

    def batch(self, indices: Tensor) -> dict[str, Tensor]:
        rows = self._rows(indices)
        return self._batch(indices, streams(self.seed, "dequantization of rows", rows))

    def training_batch(self, numbers: Tensor, seed: int) -> dict[str, Tensor]:
        return self._batch(numbers % len(self), streams(seed, "dequantization of training rows", numbers))

    def _rows(self, indices: Tensor) -> Tensor:
        """Numbers of items in the table."""
        return indices if self.positions is None else self.positions[indices]

    def _batch(self, indices: Tensor, source: Streams) -> dict[str, Tensor]:
        rows = self.values[self._rows(indices)]
        if self.dequantized:
            integers = rows[:, self.dequantized]
            noisy = integers + source.uniform((len(self.dequantized),), rows.dtype)
            below = torch.nextafter(integers + 1, integers)  # the sum may have been rounded up to the next integer
            rows[:, self.dequantized] = torch.minimum(noisy, below)  # indexing has copied the rows
        return {"row": rows, "index": indices}
