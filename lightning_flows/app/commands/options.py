"""Options shared by several commands, checked before anything is computed."""

import math
import os
from collections.abc import Sequence
from typing import Any

from lightning_flows.errors import UsageError

MAX_PIXELS = 2**26
"""Pixels of a PNG: 67 million, about a gigabyte of memory while it is written."""
BYTES = 16
"""Memory per value of a sample: the noise, the value and a copy of each, in 32 bits. Layers take more."""


def chosen_device(name: str | None) -> Any:
    """The ``torch.device`` of that name; by default an accelerator if available. Raises: UsageError."""
    import torch

    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, ValueError, NotImplementedError) as error:  # torch's have several lines
        reason = str(error).splitlines()[0][:120]
        raise UsageError(f"--device {name} is not available ({reason}): leave it out, or give cpu") from error
    return device


def check_numbers(seed: int, temperature: float, **counts: int | None) -> None:
    """Raise UsageError unless torch accepts the seed, the temperature is at least 0 and each count at least 1."""
    if not -(2**63) <= seed < 2**63:
        raise UsageError(f"--seed {seed} has more than 64 bits: give a smaller one")
    if not 0 <= temperature < math.inf:
        raise UsageError(f"--temperature {temperature} is not allowed: give a number of at least 0")
    for name, count in counts.items():
        if count is not None and count < 1:
            raise UsageError(f"--{name} {count} is not allowed: give a number of at least 1")


def check_fits(num: int, shape: Sequence[int], option: str) -> None:
    """Raise UsageError if that many samples of a shape cannot fit in this machine's memory with any model."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    needed = num * math.prod(shape) * BYTES
    if needed > memory:
        raise UsageError(
            f"{num} samples of shape {tuple(shape)} take at least {needed / 2**30:.3g} GiB, and this machine has "
            f"{memory / 2**30:.3g} GiB: give a smaller {option}"
        )
