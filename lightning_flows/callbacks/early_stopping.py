"""Stop training once validation no longer improves."""

from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping

from lightning_flows.errors import check_sizes


class EarlyStoppingAfterWarmup(EarlyStopping):
    """Lightning's EarlyStopping, which counts validations without improvement only after a warm-up.

    The best value may come from the warm-up. The count is part of each checkpoint, so a resumed run stops when an
    uninterrupted one would.

    Args:
        warmup_epochs: epochs before the first that counts, such as those in which the weight of the KL term rises.
        patience: validations without improvement after which training stops.
        monitor: metric that has to fall.
        kwargs: other arguments of :class:`lightning.pytorch.callbacks.EarlyStopping`.

    Raises: UsageError for a patience below 1 or a negative warm-up.

    >>> from lightning_flows.app.default_trainer import default_trainer
    >>> stopping = EarlyStoppingAfterWarmup(warmup_epochs=10, patience=5)
    >>> default_trainer(callbacks=[stopping], logger=False).early_stopping_callbacks == [stopping]
    True
    >>> stopping.monitor, stopping.patience
    ('val/loss', 5)
    """

    def __init__(self, warmup_epochs: int = 100, patience: int = 100, monitor: str = "val/loss", **kwargs: Any) -> None:
        check_sizes(0, warmup_epochs=warmup_epochs)
        check_sizes(patience=patience)
        # after validation, which is before the epoch's checkpoint is written
        super().__init__(monitor, patience=patience, check_on_train_epoch_end=False, **kwargs)
        self.warmup_epochs = warmup_epochs

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        is_warmup = trainer.current_epoch + 1 < self.warmup_epochs
        if is_warmup:
            self.wait_count = -1
        super().on_validation_end(trainer, pl_module)
        if is_warmup:
            self.wait_count = 0
