"""Where callbacks put files."""

from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


def run_folder(trainer: Trainer) -> Path:
    """Return the folder of a run: that of a logger that writes files, else the one in which ``checkpoints`` lies.

    ``save_dir`` of another logger, such as W&B's, is shared by all its runs. Lightning's ``trainer.log_dir`` asks all
    ranks, so that a callback that asks on the first rank alone would wait for the others forever.
    """
    folder = getattr(trainer.logger, "log_dir", None)
    if isinstance(folder, str | Path):
        return Path(folder)
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.dirpath:
            path = Path(callback.dirpath)
            return path.parent if path.name == "checkpoints" else path
    return Path(trainer.default_root_dir)
