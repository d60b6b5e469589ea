"""The ranks of a distributed run; a single one without torch.distributed."""

from typing import Any

import torch
from torch import Tensor, distributed

from lightning_flows.errors import UsageError


def num_ranks() -> int:
    """Return the number of ranks.

    >>> num_ranks()  # without torch.distributed
    1
    """
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Return the number of this rank.

    >>> rank()
    0
    """
    return distributed.get_rank() if num_ranks() > 1 else 0


def sum_over_ranks(value: Tensor) -> Tensor:
    """Sum a value in place over all ranks.

    Shapes: any, the same on all ranks.

    >>> sum_over_ranks(torch.tensor(3.0))  # of a single rank
    tensor(3.)
    """
    if num_ranks() > 1:
        distributed.all_reduce(value)
    return value


def gather_from_ranks(value: Tensor) -> list[int]:
    """Gather an integer ``()`` from each rank, in the order of the ranks.

    >>> gather_from_ranks(torch.tensor(3))
    [3]
    """
    found = [value]
    if num_ranks() > 1:
        found = [torch.empty_like(value) for _ in range(num_ranks())]
        distributed.all_gather(found, value)
    return [int(one) for one in found]


def gather_objects(value: Any) -> list[Any]:
    """Gather a value that can be pickled from each rank, in the order of the ranks.

    >>> gather_objects({"rank": rank()})
    [{'rank': 0}]
    """
    found = [value]
    if num_ranks() > 1:
        found = [None] * num_ranks()
        distributed.all_gather_object(found, value)
    return found


def check_same_step(step: int, device: torch.device) -> None:
    """Raise UsageError unless all ranks are at the same step, as ranks that resume from different files are not.

    >>> check_same_step(100, torch.device("cpu")) is None  # a single rank
    True
    """
    found = sorted(set(gather_from_ranks(torch.tensor(step, device=device))))
    if len(found) > 1:
        raise UsageError(
            f"expected all processes to start at the same step; got {', '.join(map(str, found))}: hosts must share "
            "the folder of runs"
        )
