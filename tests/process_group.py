"""Two processes that compute together."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed


def run_two(function: Callable[[int, Path], Any], folder: Path) -> None:
    """Call ``function(rank, folder)`` in two new processes that are a process group; their errors are raised."""
    torch.multiprocessing.spawn(_run, (function, folder), nprocs=2)


def _run(rank: int, function: Callable[[int, Path], Any], folder: Path) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    function(rank, folder)
    distributed.barrier()
    os._exit(0)  # torch 2.6 deadlocks if a group is destroyed while one of its threads releases tensors
