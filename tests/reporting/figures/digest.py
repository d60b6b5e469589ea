"""One line for the numbers of a figure, the same on every kind of CPU."""

import hashlib
from collections.abc import Iterable

from torch import Tensor


def digest(tensors: Iterable[Tensor], decimals: int = 6) -> str:
    """Hash of values rounded to ``decimals``, and of shapes; float64 leaves the round-off of a CPU far below that."""
    summary = hashlib.sha256()
    for values in tensors:
        rounded = values.double().round(decimals=decimals) + 0.0  # −0 is 0
        summary.update(f"{tuple(values.shape)} {[f'{value:.{decimals}f}' for value in rounded.flatten()]}".encode())
    return summary.hexdigest()[:16]
