"""Two processes that compute together."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import distributed


@contextmanager
def member(rank: int, folder: Path) -> Iterator[None]:
    """Make this process one of the two of a group, whose store is in the folder."""
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    yield
    distributed.barrier()  # torch 2.6 deadlocks if a group is destroyed while one of its threads releases tensors
    distributed.destroy_process_group()


def run_two(function: Callable[..., Any], folder: Path) -> None:
    """Call ``function(rank, folder)`` in two new processes; their errors are raised."""
    torch.multiprocessing.spawn(function, (folder,), nprocs=2)
