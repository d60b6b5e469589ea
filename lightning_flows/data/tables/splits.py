"""The split of a row as a function of its values."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from lightning_flows.data.tables.base import CHUNK
from lightning_flows.functional.streams import stream_seed


def split_rows(values: Tensor, seed: int, fractions: Mapping[str, float]) -> dict[str, Tensor]:
    """Return the positions of the rows in train, val and test, in order, int64.

    u, a hash of the seed and of a row's values, is uniform in [0, 1). The row is in test if u < fractions["test"], and
    in val if u ≥ 1 − fractions["val"]. So other rows do not affect it, equal rows share a split, and the sizes only
    match the fractions on average.

    >>> {name: len(rows) for name, rows in split_rows(torch.ones(4, 2), 0, {"val": 0.5, "test": 0.0}).items()}
    {'train': 4, 'val': 0, 'test': 0}
    """
    u = np.concatenate([_uniform(part.numpy(), seed) for part in values.split(CHUNK)])
    is_test, is_val = u < fractions["test"], u >= 1 - fractions["val"]
    masks = {"train": ~(is_test | is_val), "val": is_val & ~is_test, "test": is_test}
    return {name: torch.from_numpy(np.flatnonzero(mask)) for name, mask in masks.items()}


def _uniform(rows: np.ndarray, seed: int) -> np.ndarray:
    """Hash float32 ``(N, D)`` to multiples of 2⁻⁵³ in [0, 1), by SplitMix64 (Steele, Lea and Flood, 2014)."""
    found = np.full(len(rows), stream_seed(seed, "split of a table"), np.uint64)
    for column in (rows + np.float32(0)).view(np.uint32).T:  # so that -0.0 equals 0.0
        found = (found ^ column) + np.uint64(0x9E3779B97F4A7C15)
        found = (found ^ (found >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        found = (found ^ (found >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        found ^= found >> np.uint64(31)
    return (found >> np.uint64(11)) * 2.0**-53
