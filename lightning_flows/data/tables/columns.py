"""Columns for which a continuous density makes no sense, or is not what it seems."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_flows.data.tables.base import CHUNK, shown

LEVELS = 1000
"""Steps of float32 per standard deviation below which values are considered coarse."""
REPEATS = 10
"""Rows per value at or above which an integer column is considered discrete."""
EXAMINED = 2**14
"""Rows in which values are counted."""


class Moments(NamedTuple):
    """Mean, standard deviation, least and largest value of each column: float64 ``(D,)``."""

    mean: Tensor
    std: Tensor
    least: Tensor
    largest: Tensor

    @property
    def is_constant(self) -> Tensor:
        """Columns with a single value: bool ``(D,)``."""
        return self.least == self.largest


def moments(values: Tensor, positions: Tensor) -> Moments:
    """Moments of some rows of a table, accumulated in float64; the standard deviation is that of the sample.

    >>> moments(torch.tensor([[1.0], [3.0], [9.0]]), torch.tensor([0, 1])).largest
    tensor([3.], dtype=torch.float64)
    """
    parts = [values[part] for part in positions.split(CHUNK)]
    mean = torch.stack([part.double().sum(0) for part in parts]).sum(0) / len(positions)
    squares = torch.stack([(part - mean).square().sum(0) for part in parts]).sum(0)
    least = torch.stack([part.amin(0) for part in parts]).amin(0)
    largest = torch.stack([part.amax(0) for part in parts]).amax(0)
    return Moments(mean, (squares / max(1, len(positions) - 1)).sqrt(), least.double(), largest.double())


def with_noise(found: Moments, columns: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation ``(D,)`` once noise uniform in [0, 1) is added to some columns."""
    added = torch.zeros_like(found.mean)
    added[list(columns)] = 1
    return found.mean + added / 2, (found.std.square() + added / 12).sqrt()


def is_integer(values: Tensor) -> Tensor:
    """Columns of integers: bool ``(D,)``."""
    return torch.stack([(part == part.round()).all(0) for part in values.split(CHUNK)]).all(0)


def doubts(
    values: Tensor, positions: Tensor, found: Moments, names: Sequence[str], dequantized: Sequence[int] = ()
) -> list[str]:
    """What a user should know about the columns: one line per doubt."""
    eps = torch.finfo(torch.float32).eps
    magnitude = torch.maximum(found.least.abs(), found.largest.abs())
    coarse = [name for name, few in zip(names, found.std < LEVELS * eps * magnitude, strict=True) if few]
    rows = values[positions[:EXAMINED]]
    integer = [i for i, each in enumerate(is_integer(rows).tolist()) if each and i not in dequantized]
    discrete = [names[i] for i in integer if REPEATS * len(rows[:, i].unique()) <= len(rows)]
    lines = []
    if coarse:
        lines.append(f"float32 hardly resolves the values of {shown(coarse)}: subtract a constant from them")
    if discrete:
        lines.append(
            f"the values of {shown(discrete)} are few integers, of which a continuous density is unbounded: add noise "
            "to them with --data.dequantize, or leave them out with --data.drop"
        )
    return lines
