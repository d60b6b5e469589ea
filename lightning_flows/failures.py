"""What ended a run, said in one line, and the end itself."""

import os
import re
import sys

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import distributed

from lightning_flows.errors import FlowsError

RESUME = "start the same command with --ckpt_path=last to go on from the last checkpoint"
LOST_PEER = r"Connection closed by peer|Connection reset by peer|Broken pipe|recv.*failed|remote process exited"


def explain(error: BaseException | None) -> str | None:
    """Say what a person can act on in an error or the errors below it.

    An empty text is for processes that have nothing to add: where one of several ends, the others lose their connection
    to it, and only the first of them tells. None for a bug, whose traceback is wanted.
    """
    while error is not None:
        if (message := _explain(error)) is not None:
            return message
        error = error.__cause__ or error.__context__  # jsonargparse wraps those of a constructor
    return None


def _explain(error: BaseException) -> str | None:
    text = str(error)
    if isinstance(error, FlowsError | OSError):
        return text
    if isinstance(error, torch.OutOfMemoryError):
        return f"the device has too little memory: use a smaller data.batch_size ({text.splitlines()[0]})"
    if worker := re.search(r"DataLoader worker.*", text):
        return (
            f"a process that loads data ended ({worker[0]}): the host may have too little memory or /dev/shm; try a "
            f"smaller data.num_workers, then {RESUME}"
        )
    if isinstance(error, distributed.DistError | RuntimeError) and re.search(LOST_PEER, text, re.DOTALL):
        return _from_first_rank(f"another process of this run ended, as its own output tells: {RESUME}")
    return None


@rank_zero_only
def _first_rank(message: str) -> str:
    return message


def _from_first_rank(message: str) -> str:
    return _first_rank(message) or ""


def leave() -> None:
    """End with status 1; at once where there are several processes, as those that wait for each other never would."""
    if distributed.is_available() and distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
    sys.exit(1)
