"""Where callbacks put files."""

from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


def run_folder(trainer: Trainer) -> Path:
    """Return the folder of a run: that of a logger that writes files, or else the parent of ``checkpoints``.

    ``save_dir`` of other loggers, such as W&B's, is shared by all runs. Lightning's ``trainer.log_dir`` is a collective
    call, so a callback that uses it only on the first rank would wait for the others forever.
    """
    folder = getattr(trainer.logger, "log_dir", None)
    if isinstance(folder, str | Path):
        return Path(folder)
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.dirpath:
            path = Path(callback.dirpath)
            return path.parent if path.name == "checkpoints" else path
    return Path(trainer.default_root_dir)
