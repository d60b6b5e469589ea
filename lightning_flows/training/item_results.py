"""Results of each item of a test, gathered from all batches and ranks."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor

from lightning_flows.functional.ranks import gather_objects


@dataclass(frozen=True)
class ItemResults:
    """Results of N items in the order of their index, each once.

    Args:
        index: positions in the split, int64 ``(N,)``.
        values: results by name, float64 ``(N,)``.
        digest: hash of the contents of the items and their positions: equal if two tests are of the same items.
        num_repeated: number of dropped repetitions, with which a sampler pads the last batch.
    """

    index: np.ndarray
    values: dict[str, np.ndarray]
    digest: str
    num_repeated: int


class ItemCollector:
    """Keeps the results of the batches of one rank on the host: 16 bytes per item, and 8 for each of its results.

    A batch must be a mapping of tensors, and the output of its step a mapping of ``index`` and any values ``(B,)``.
    Otherwise, or with several loaders, whose indices coincide, the results of the test are not known per item.
    """

    def __init__(self) -> None:
        self._batches: list[dict[str, np.ndarray]] | None = []

    def add(self, batch: Any, outputs: Any, loader: int = 0) -> None:
        """Add a batch and what ``test_step`` returned for it."""
        index = outputs.get("index") if isinstance(outputs, Mapping) else None
        if self._batches is None or loader or not isinstance(batch, Mapping) or not _is_vector(index):
            self._batches = None
            return
        num = len(index)
        values = {name: each for name, each in outputs.items() if name != "index" and _is_vector(each, num)}
        arrays = {name: each.detach().cpu().double().numpy() for name, each in values.items()}
        self._batches.append({**arrays, "": contents(batch, num), "index": index.cpu().long().numpy()})

    def gathered(self) -> ItemResults | None:
        """Results of all ranks, which must call this together; None if they are not known per item."""
        ranked = gather_objects(self._batches)
        batches = [batch for of_rank in ranked for batch in of_rank or ()]
        if None in ranked or not batches or any(batch.keys() != batches[0].keys() for batch in batches):
            return None
        arrays = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
        index, first = np.unique(arrays.pop("index"), return_index=True)
        num_repeated = len(next(iter(arrays.values()))) - len(index)
        arrays = {name: array[first] for name, array in arrays.items()}
        digest = hashlib.blake2b(index.tobytes() + arrays.pop("").tobytes(), digest_size=16).hexdigest()
        return ItemResults(index, arrays, digest, num_repeated)


def contents(batch: Mapping[str, Any], num: int) -> np.ndarray:
    """A 64-bit hash of the contents of each of ``num`` items, int64 ``(num,)``, without their index."""
    tensors = [each for name, each in sorted(batch.items()) if name != "index" and isinstance(each, Tensor)]
    parts = [
        each.detach().reshape(num, -1).contiguous().view(torch.uint8).cpu().numpy()
        for each in tensors
        if each.ndim and len(each) == num and each.numel() and each.layout is torch.strided
    ]
    rows = np.concatenate(parts, axis=1) if parts else np.empty((num, 0), np.uint8)
    return np.frombuffer(b"".join(hashlib.blake2b(row.data, digest_size=8).digest() for row in rows), np.int64)


def _is_vector(value: Any, num: int | None = None) -> TypeGuard[Tensor]:
    return isinstance(value, Tensor) and value.ndim == 1 and num in (None, len(value))
