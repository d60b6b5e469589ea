"""Atomic checkpoint files: an interrupted write never damages a checkpoint."""

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from lightning_flows.checkpoints.file import read_file, read_values
from lightning_flows.errors import CheckpointError
from lightning_flows.files import replaced


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write checkpoints atomically: to a temporary file, flushed to disk, then renamed.

    Raises: OutputError with the reason if the disk is full or the folder cannot be written.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint; URLs, such as of an object store, are left to Lightning."""
        if "://" in str(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        with replaced(Path(path)) as file:
            torch.save(checkpoint, file)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove one checkpoint file, never a folder: the path may come from an untrusted checkpoint.

        Raises: CheckpointError for anything but a file whose name ends in ``.ckpt``.
        """
        if "://" in str(path):
            super().remove_checkpoint(path)
            return
        file = Path(path)
        if not file.exists() and not file.is_symlink():
            return
        if file.suffix != ".ckpt" or ".." in file.parts or not (file.is_symlink() or file.is_file()):
            raise CheckpointError(f"{path} is not a checkpoint file and is not removed: start a new run")
        file.unlink()

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: bool | None = None) -> Any:
        """Read tensors and plain values onto the host, regardless of the arguments. Raises: CheckpointError."""
        if Path(path).name == ".temp.ckpt":  # only weights, returned by processes that Lightning forks
            return read_values(path)
        checkpoint = read_file(path)
        if "pytorch-lightning_version" not in checkpoint:
            raise CheckpointError(f"{path} was not written by a trainer: use a checkpoint written by fit")
        return checkpoint
