"""Options shared by several commands, checked before anything is computed."""

import math
import os
from collections.abc import Sequence
from typing import Any

from lightning_flows.errors import UsageError

MAX_PIXELS = 2**26
"""Pixels of a PNG: 67 million, about a gigabyte of memory while it is written."""
BYTES = 16
"""Bytes per value of a sample: the noise, the value and a copy of each, in 32 bits. Layers need more."""


def device_named(name: str | None) -> Any:
    """Return the ``torch.device`` of that name, by default an accelerator if available."""
    import torch

    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def chosen_device(name: str | None) -> Any:
    """Return :func:`device_named` if tensors can be created there. Raises: UsageError."""
    import torch

    try:
        device = device_named(name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, ValueError, NotImplementedError) as error:  # torch's span several lines
        reason = str(error).splitlines()[0][:120]
        raise UsageError(f"--device {name} is not available ({reason}): omit it, or use cpu") from error
    return device


def check_numbers(seed: int, temperature: float, **counts: int | None) -> None:
    """Raise UsageError unless torch accepts the seed, the temperature is at least 0 and each count at least 1."""
    if not -(2**63) <= seed < 2**63:
        raise UsageError(f"--seed {seed} exceeds 64 bits: use a smaller one")
    if not 0 <= temperature < math.inf:
        raise UsageError(f"--temperature {temperature} is not allowed: use a number of at least 0")
    for name, count in counts.items():
        if count is not None and count < 1:
            raise UsageError(f"--{name} {count} is not allowed: use a number of at least 1")


def check_fits(num: int, shape: Sequence[int], option: str) -> None:
    """Raise UsageError if ``num`` samples of a shape exceed this machine's memory, regardless of the model."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    needed = num * math.prod(shape) * BYTES
    if needed > memory:
        raise UsageError(
            f"{num} samples of shape {tuple(shape)} need at least {needed / 2**30:.3g} GiB, but this machine has "
            f"{memory / 2**30:.3g} GiB: use a smaller {option}"
        )
