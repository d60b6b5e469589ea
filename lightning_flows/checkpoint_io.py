"""Writing checkpoints such that a run is never left without one that loads."""

from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from lightning_flows.files import replaced


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are whole or as they were before: written beside, flushed to the disk, then renamed.

    Raises: OutputError with the reason if the disk is full or the folder cannot be written.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint; one with a URL, such as of an object store, as Lightning does."""
        if "://" in str(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        with replaced(Path(path)) as file:
            writer = _Writer(file)
            try:
                torch.save(checkpoint, writer)  # type: ignore[arg-type]
            except RuntimeError:  # torch's own error does not tell what the disk said
                if writer.error is not None:
                    raise writer.error from None
                raise


class _Writer:
    """A file to write to that remembers what went wrong."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.flush = file, file.flush
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write, and remember the error."""
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise
