"""Rows of a table in memory."""

from collections.abc import Sequence

from torch import Tensor

from lightning_flows.data.datasets.batches import BatchDataset
from lightning_flows.functional.philox import streams


class RowDataset(BatchDataset):
    """Some rows of a table ``(N, D)``, which is not copied: ``{"row": (D,), "index": int64 ()}``.

    Args:
        values: the table.
        positions: which rows, int64 ``(M,)``; default: all.
        dequantized: columns to which noise uniform in [0, 1) is added: new noise for each training item, and always the
            same for an evaluated one.
        purpose: name of the stream of that noise.
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
        purpose: str = "dequantization of rows",
        seed: int = 0,
    ) -> None:
        self.values, self.positions = values, positions
        self.dequantized, self.purpose, self.seed = list(dequantized), purpose, seed

    def __len__(self) -> int:
        return len(self.values if self.positions is None else self.positions)

    def batch(self, indices: Tensor) -> dict[str, Tensor]:
        return self._batch(indices, indices, self.seed)

    def training_batch(self, numbers: Tensor, seed: int) -> dict[str, Tensor]:
        return self._batch(numbers % len(self), numbers, seed)

    def _batch(self, indices: Tensor, numbers: Tensor, seed: int) -> dict[str, Tensor]:
        rows = self.values[indices if self.positions is None else self.positions[indices]]
        if self.dequantized:
            noise = streams(seed, self.purpose, numbers).uniform((len(self.dequantized),), rows.dtype)
            rows[:, self.dequantized] += noise  # indexing has copied the rows
        return {"row": rows, "index": indices}
