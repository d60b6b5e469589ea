"""Turn the exception that ended a run into a one-line message and exit."""

import errno
import importlib.util
import linecache
import os
import re
import sys
import threading
from types import TracebackType
from typing import Any
from urllib.error import URLError

from lightning_flows.app.terminal import one_line
from lightning_flows.errors import FlowsError, OutputError
from lightning_flows.files import AGAIN

RESUME = "rerun the command with --ckpt_path=last to resume from the last checkpoint"
CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
NO_MEMORY = (
    r"DefaultCPUAllocator|can't allocate memory|std::bad_alloc|[Oo]ut of memory|ALLOC_FAILED|Unable to allocate|"
    r"Storage size calculation overflowed|array is too big"
)
LOST_PEER = (
    r"Connection closed by peer|Connection reset by peer|Connection refused|Broken pipe|recv.*failed|"
    r"remote process exited|connectFullMesh failed|Timed out waiting|[Tt]imed out after .* waiting for clients|"
    r"wait timeout|Socket Timeout|collective operation timeout|timeout caused pair closure|ncclRemoteError|"
    r"ncclSystemError"
)
WORKER = r"DataLoader (worker \(pid.*|timed out.*)"
NO_DEVICE = r"not compiled with CUDA|No CUDA GPUs|no NVIDIA driver|invalid device ordinal|device string"
IN_WORKER = r"Caught [\w.]+ in DataLoader worker process"
MEMORY_OPTIONS = {
    "sample": "--batch_size or --num",
    "figure": "--num or --dpi",
    "report": "number of runs below --runs",
}
UNLOGGED = (
    r"conditioned on metric `?([^\s`]+)`? which is not available|monitor='([^']+)'\)` could not find the monitored key"
)
LOGGERS = {
    "wandb": ("Weights & Biases", "--trainer.logger.offline true"),
    "mlflow": ("MLflow", "--trainer.logger.tracking_uri sqlite:///runs/mlflow.db"),
}
"""Packages of loggers whose errors are shown in a line, their names, and the options with which they need no server."""
LOGGED = r"[`']([\w./-]*[/_][\w./-]+)[`']"


def explain(error: BaseException | None, command: str = "") -> str | None:
    """Return a one-line message if the user can act on an error or its cause; None for a bug.

    A bug keeps its traceback. An error raised in an exception handler may be a bug, so an error that was being handled
    only counts if it cannot be one: a full disk, no memory, or a process that is gone.

    Args:
        error: the exception.
        command: the subcommand that it ended, on which the advice depends.
    """
    again = RESUME if command == "fit" else AGAIN
    cause, seen = True, set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        text = _environment_error(error, command, again) or (_user_error(error, again) if cause else None)
        if text is not None:
            return one_line(text)
        cause = error.__cause__ is not None
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None


def _environment_error(error: BaseException, command: str, again: str) -> str | None:
    """Return the message for a full disk, no memory, or another process that is gone."""
    text = str(error)
    if isinstance(error, FlowsError):
        return None
    if isinstance(error, OSError) and error.errno in CANNOT_WRITE:
        return f"the run could not write {error.filename or 'its files'} ({error.strerror}): free space, then {again}"
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError | ValueError) and re.search(NO_MEMORY, text)):
        where = "device" if "CUDA" in text else "host"
        option = MEMORY_OPTIONS.get(command, "--data.batch_size")
        return f"the {where} is out of memory: use a smaller {option} ({_first_line(text) or 'MemoryError'})"
    if (worker := re.search(WORKER, text)) and not re.search(IN_WORKER, text):
        return (
            f"a data loading worker exited or does not respond ({worker[0]}): the host may be out of memory or "
            f"/dev/shm; try a smaller --data.num_workers, then {again}"
        )
    if isinstance(error, RuntimeError):
        if "EADDRINUSE" in text or "address already in use" in text.lower():
            port = re.search(r"port: (\d+)", text)
            return (
                f"the port {port[1] if port else 'of MASTER_PORT'} is in use by another process: set another in "
                "MASTER_PORT, or unset it on a single machine"
            )
        if re.search(LOST_PEER, text, re.DOTALL):
            return f"another process of this run exited or does not respond: {again}"
    return None


def _user_error(error: BaseException, again: str) -> str | None:
    """Return the message for a user error."""
    text = str(error)
    if re.match(IN_WORKER, text) and isinstance(error, FlowsError | OSError):  # preceded by the worker's traceback
        return text.strip().splitlines()[-1].partition(": ")[2]
    if isinstance(error, OutputError):
        return text.replace(AGAIN, again)
    if isinstance(error, FlowsError):
        return text
    if isinstance(error, OSError):  # a plain OSError without errno may be anything
        known = error.errno is not None or isinstance(error, URLError) or type(error) is not OSError
        return (text or type(error).__name__) if known else None
    if isinstance(error, ModuleNotFoundError):
        return _missing_package(error)
    if package := LOGGERS.get(type(error).__module__.partition(".")[0]):
        name, local = package
        return f"{name} failed ({_first_line(text) or type(error).__name__}): {again}, or use it locally: {local}"
    if isinstance(error, NotImplementedError) and (
        kind := re.search(r"not implemented for '(B?Float8?\w*|Half)'", text)
    ):
        return f"this device lacks operations in {kind[1]}: choose another --trainer.precision, such as 32-true"
    if isinstance(error, AssertionError | RuntimeError) and re.search(NO_DEVICE, text):
        return f"{_first_line(text)}: choose a device of this machine, such as cpu"
    if isinstance(error, UnicodeEncodeError) and error.encoding == getattr(sys.stdout, "encoding", None):
        return f"the encoding {error.encoding} cannot display {error.object[error.start]!r}: set PYTHONUTF8=1"
    if missing := re.search(UNLOGGED, text, re.DOTALL):
        return (
            f"{missing[1] or missing[2]} is monitored but never logged: monitor one of "
            f"{', '.join(re.findall(LOGGED, text[missing.end() :])) or 'the metrics that training logs'}"
        )
    if type(error).__name__ == "MisconfigurationException" or _is_refused_by_lightning(error):
        return text
    if isinstance(error, RuntimeError | ValueError) and _raised_in(error).startswith("torch.optim."):
        return f"{_first_line(text)}: choose another --optimizer or --lr_scheduler, or other options of it"
    return None


def _missing_package(error: ModuleNotFoundError) -> str | None:
    """Return the message for a package that is not installed; None for a missing module of an installed package."""
    if error.name is None:  # from Lightning, whose message explains how to install the package
        return str(error) if "pip install" in str(error) else None
    package = error.name.partition(".")[0]
    try:
        installed = importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        installed = True
    return None if installed else f"{package} is not installed: run `pip install {package}`"


def _is_refused_by_lightning(error: BaseException) -> bool:
    """Whether Lightning itself deliberately raised an error about a value, such as an unknown strategy."""
    if not isinstance(error, ValueError | TypeError) or (last := _last_frame(error)) is None:
        return False
    line = linecache.getline(last.tb_frame.f_code.co_filename, last.tb_lineno)
    return _raised_in(error).partition(".")[0] in ("lightning", "lightning_fabric") and line.lstrip().startswith(
        "raise "
    )


def _raised_in(error: BaseException) -> str:
    """Name of the module whose code raised an error."""
    last = _last_frame(error)
    return "" if last is None else str(last.tb_frame.f_globals.get("__name__", ""))


def _last_frame(error: BaseException) -> TracebackType | None:
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[0]


def leave_to_main_thread(args: threading.ExceptHookArgs) -> None:
    """Ignore write errors of threads such as TensorBoard's: the main thread hits the same error."""
    if not issubclass(args.exc_type, OSError):
        threading.__excepthook__(args)


def is_first_to_fail() -> bool:
    """Whether this process is the first of its run to call this: if one exits, the others lose their connection.

    Calls are counted in the store of the process group, which the first rank hosts. If the store does not respond, the
    first rank reports.
    """
    if (distributed := _several_ranks()) is None:
        return True
    try:
        return distributed.distributed_c10d._get_default_store().add("lightning_flows/failures", 1) == 1
    except (RuntimeError, ValueError):
        return distributed.get_rank() == 0


def leave(status: int = 1) -> None:
    """Exit, without cleanup if there are several processes, which might wait for each other forever."""
    if _several_ranks() is not None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _several_ranks() -> Any:
    """Return torch.distributed if this run has several processes; does not import torch."""
    distributed: Any = sys.modules.get("torch.distributed")
    several = distributed and distributed.is_available() and distributed.is_initialized()
    return distributed if several and distributed.get_world_size() > 1 else None
