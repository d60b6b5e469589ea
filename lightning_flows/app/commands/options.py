"""Options shared by several commands, checked before anything is computed."""

import math
import os
from collections.abc import Sequence

import torch

from lightning_flows.errors import UsageError

MAX_PIXELS = 2**26
"""Pixels of a PNG: 67 million, about a gigabyte of memory while it is written."""
BYTES = 16
"""Of each value of a sample: the noise, the value and a copy of each on the way, in 32 bits. Layers take more."""


def chosen_device(name: str | None) -> torch.device:
    """The device of that name; by default an accelerator if available.

    Raises: UsageError if there is no such device.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, ValueError) as error:  # torch's messages have several lines
        raise UsageError(
            f"expected a device of this machine; got {name} ({str(error).splitlines()[0][:120]}): leave --device out "
            "or name cpu"
        ) from error
    return device


def check_seed(seed: int) -> None:
    """Raise UsageError unless torch accepts a seed."""
    if not -(2**63) <= seed < 2**63:
        raise UsageError(f"expected a seed of 64 bits; got {seed}: name a smaller one")


def check_fits(num: int, shape: Sequence[int], option: str) -> None:
    """Raise UsageError if that many samples of a shape cannot fit in this machine's memory with any model."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    needed = num * math.prod(shape) * BYTES
    if needed > memory:
        raise UsageError(
            f"expected samples that fit into memory; {num} of shape {tuple(shape)} take {needed / 2**30:.3g} GiB or "
            f"more and this machine has {memory / 2**30:.3g}: use a smaller {option}"
        )
