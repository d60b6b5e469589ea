"""The only reader of checkpoint files: tensors and plain values, never code, within fixed limits."""

import pickle
import stat
import zipfile
from pathlib import Path
from typing import Any

import torch

from lightning_flows.checkpoints.forms import check_record, check_training, check_values
from lightning_flows.errors import CheckpointError

MAX_PLAIN_BYTES = 64 * 2**20
"""Largest total size of everything but tensors in a checkpoint."""


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Load a checkpoint of lightning_flows on the CPU; tensors are memory-mapped.

    Raises: CheckpointError if the file is missing, truncated, not a checkpoint, expands beyond its size, contains
    pickled code (which is not run), or was not written by lightning_flows.

    >>> try:
    ...     read_checkpoint("none.ckpt")
    ... except CheckpointError as error:
    ...     print(str(error).partition(":")[0])
    none.ckpt does not exist
    """
    checkpoint = read_file(path)
    check_record(checkpoint, str(path))
    return checkpoint


def read_file(path: str | Path) -> dict[str, Any]:
    """Load a checkpoint of any LightningModule on the CPU; errors are those of :func:`read_checkpoint`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save({"state_dict": {"w": torch.ones(2)}}, f"{folder}/other.ckpt")
    ...     read_file(f"{folder}/other.ckpt")["state_dict"]
    {'w': tensor([1., 1.])}
    """
    checkpoint = read_values(path)
    if "state_dict" not in checkpoint:
        raise CheckpointError(f"{path} was not written by lightning_flows: use a checkpoint that fit wrote")
    check_training(checkpoint, str(path))
    return checkpoint


def read_values(path: str | Path) -> dict[str, Any]:
    """Load a dictionary of tensors and plain values on the CPU; errors are those of :func:`read_checkpoint`."""
    size = _check_file(path)
    try:
        checkpoint = torch.load(str(path), map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        if "weights" in str(error).lower():
            raise CheckpointError(f"{path} contains pickled code, which was not run: use another file") from error
        raise _truncated(path) from error
    except PermissionError as error:
        raise _unreadable(path, error) from error
    except Exception as error:  # a damaged file may raise anything
        raise _truncated(path) from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f"{path} was not written by lightning_flows: use a checkpoint that fit wrote")
    check_values(checkpoint, str(path), size)
    return checkpoint


def _check_file(path: str | Path) -> int:
    """Check the archive without unpickling it; return its size in bytes."""
    if "://" in str(path):
        raise CheckpointError(f"{path} is a URL: download it, then pass the path of the file")
    try:
        status = Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"{path} does not exist: pass the path of a checkpoint, such as {EXAMPLE}") from None
    except (OSError, ValueError) as error:  # a name that is too long or contains NUL
        raise CheckpointError(
            f"{str(path)[:80]!r} cannot be read ({_why(error)}): pass the path of a checkpoint"
        ) from None
    if stat.S_ISDIR(status.st_mode):
        best = next((p for p in (Path(path) / "checkpoints/best.ckpt", Path(path) / "best.ckpt") if p.is_file()), None)
        raise CheckpointError(f"{path} is a folder: pass {best or 'a checkpoint in it'}")
    if not stat.S_ISREG(status.st_mode):
        raise CheckpointError(f"{path} is not a regular file: pass the path of a checkpoint, such as {EXAMPLE}")
    try:
        with Path(path).open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise _unreadable(path, error) from error
    if start != b"PK\x03\x04":
        raise CheckpointError(f"{path} is not a checkpoint: use one that fit wrote, such as {EXAMPLE}")
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _truncated(path) from error
    plain = sum(member.file_size for member in members if member.filename.endswith(".pkl"))
    if plain > MAX_PLAIN_BYTES or any(member.compress_type or member.file_size > status.st_size for member in members):
        raise CheckpointError(
            f"{path} unpacks to more than its size, or has more than {MAX_PLAIN_BYTES // 2**20} MiB besides tensors: "
            "use a checkpoint that fit wrote"
        )
    return status.st_size


EXAMPLE = "runs/NAME/version_0/checkpoints/best.ckpt"


def _truncated(path: str | Path) -> CheckpointError:
    return CheckpointError(f"{path} is truncated or not a checkpoint: use a complete one")


def _unreadable(path: str | Path, error: OSError) -> CheckpointError:
    return CheckpointError(f"{path} cannot be read ({_why(error)}): change its permissions, or use another checkpoint")


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
