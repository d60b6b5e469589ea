"""Allocate memory for images, or refuse if there is not enough."""

import math
import os
from pathlib import Path

import torch
from torch import Tensor

from lightning_flows.errors import DataError

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # limits of a container


def empty_images(num: int, shape: tuple[int, int, int]) -> Tensor:
    """Return uint8 ``(num, *shape)``, shape (C, H, W). Raises: DataError if that exceeds the free memory."""
    needed, free = num * math.prod(shape), free_memory()
    if needed <= free:
        try:
            return torch.empty(num, *shape, dtype=torch.uint8)
        except (RuntimeError, MemoryError):
            pass  # a limit of this process only
    raise DataError(
        f"{num} images of {shape[1]}x{shape[2]} pixels with {shape[0]} channels need {needed / 2**30:.1f} GiB of "
        f"memory, of which {free / 2**30:.1f} GiB are free: choose a smaller --data.size or fewer images"
    )


def free_memory() -> int:
    """Return the bytes that this process may still allocate according to Linux and its cgroup."""
    free = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    free += [int(line.split()[1]) * 1024 for line in _lines("/proc/meminfo") if line.startswith("MemAvailable:")]
    free += [int(line) for path in _LIMITS for line in _lines(path) if line.strip().isdigit()]
    return min(free)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
