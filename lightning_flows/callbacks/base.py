"""Shared by several callbacks: how often they run, on which items, and the folder that they write to."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from lightning_flows.errors import UsageError
from lightning_flows.training.run_folder import LAST, RECORD


def every(num: int) -> int:
    """Return a callback's interval in epochs. Raises: UsageError if it is below 1."""
    if num < 1:
        raise UsageError(f"every_n_epochs is {num}: use at least 1, or remove the callback")
    return num


def training_loss(trainer: Trainer) -> dict[str, float]:
    """The loss of the last training step under its unit, such as ``train/bpd``, read from the device; empty if none."""
    found = trainer.callback_metrics
    return {name: float(found[name]) for name in ("train/bpd", "train/nll") if name in found}


def own_folder(trainer: Trainer) -> Path | None:
    """Folder that belongs to a trainer's run alone: that of a logger that writes files, or of the command line.

    None for a trainer in Python without such a logger. The ``save_dir`` of other loggers, such as W&B's, is shared by
    all runs. Lightning's ``trainer.log_dir`` is a collective call, so a callback that used it on the first rank alone
    would wait for the others forever.
    """
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger | CSVLogger):
            version = logger.version
            return Path(logger.root_dir) / (version if isinstance(version, str) else f"version_{version}")
    root = Path(trainer.default_root_dir)  # on the command line, a run's own
    return root if (root / RECORD).is_file() else None


def run_folder(trainer: Trainer) -> Path:
    """The run's own folder, or else the parent of ``checkpoints``, or ``default_root_dir``."""
    if folder := own_folder(trainer):
        return folder
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.dirpath:
            path = Path(callback.dirpath)
            return path.parent if path.name == LAST.parent.name else path
    return Path(trainer.default_root_dir)


def is_drawn(trainer: Trainer, every_n_epochs: int) -> bool:
    """Whether images are drawn after this validation: at an interval in epochs, and at the end of training."""
    epoch, max_epochs, max_steps = trainer.current_epoch, trainer.max_epochs or 0, trainer.max_steps
    is_last = epoch == max_epochs - 1 or 0 < max_steps <= trainer.global_step
    return not trainer.sanity_checking and (epoch % every_n_epochs == 0 or is_last)


class ValidationItems(Callback):
    """Base of callbacks that process the first items of each validation, on the first rank.

    Lightning validates in eval mode and without gradients, so the flow's state does not change; no random numbers are
    used.

    Args:
        num_items: number of items.
    """

    def __init__(self, num_items: int) -> None:
        self.num_items = num_items
        self._batch: Any = None

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if batch_idx == 0 and trainer.is_global_zero and not trainer.sanity_checking:
            self._batch = apply_to_collection(batch, Tensor, lambda value: value[: self.num_items])

    def take(self) -> Any:
        """Return the items of this validation as a batch and forget them; None if there are none."""
        batch, self._batch = self._batch, None
        return batch
