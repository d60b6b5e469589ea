"""Where callbacks put files."""

from pathlib import Path

from lightning.pytorch import Trainer


def run_folder(trainer: Trainer) -> Path:
    """Return the folder of a run, as Lightning's ``trainer.log_dir`` has it.

    That one asks all ranks, so that a callback that asks on the first rank alone would wait for the others forever.
    """
    logger = trainer.logger
    folder = None if logger is None else getattr(logger, "log_dir", None) or logger.save_dir
    return Path(folder or trainer.default_root_dir)
