"""What ended a run, said in one line, and the end itself."""

import errno
import os
import re
import sys
import threading

import torch
from torch import distributed

from lightning_flows.errors import FlowsError
from lightning_flows.functional.ranks import num_ranks

RESUME = "start the same command with --ckpt_path=last to go on from the last checkpoint"
CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
LOST_PEER = r"Connection closed by peer|Connection reset by peer|Broken pipe|recv.*failed|remote process exited"


def explain(error: BaseException | None) -> str | None:
    """Say what a person can act on in an error or the errors below it; None for a bug, whose traceback is wanted."""
    while error is not None:
        if (message := _explain(error)) is not None:
            return message
        error = error.__cause__ or error.__context__  # jsonargparse wraps those of a constructor
    return None


def _explain(error: BaseException) -> str | None:
    text = str(error)
    if isinstance(error, OSError) and error.errno in CANNOT_WRITE and not isinstance(error, FlowsError):
        return f"the run could not write {error.filename or 'its files'} ({error.strerror}): make room, then {RESUME}"
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
        return f"another process of this run ended: {RESUME}"
    return None


def leave_to_main_thread(args: threading.ExceptHookArgs) -> None:
    """Say nothing of a thread that could not write, such as TensorBoard's: the main thread meets the same error."""
    if not issubclass(args.exc_type, OSError):
        threading.__excepthook__(args)


def is_first_to_fail() -> bool:
    """Tell whether this process is the first of its run to ask: where one ends, all others lose their connection to it.

    They count in the store through which they found each other. Where that is gone, so is the first rank, which kept it
    and has told of its end itself.
    """
    if num_ranks() == 1:
        return True
    try:
        return distributed.distributed_c10d._get_default_store().add("lightning_flows/failures", 1) == 1
    except (RuntimeError, ValueError):
        return False


def leave() -> None:
    """End with status 1; at once where there are several processes, as those that wait for each other never would."""
    if num_ranks() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
    sys.exit(1)
