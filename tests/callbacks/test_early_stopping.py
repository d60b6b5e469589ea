from pathlib import Path

import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringModel

from lightning_flows.callbacks import EarlyStoppingAfterWarmup
from lightning_flows.errors import UsageError
from tests.small_modules import trainer


class Losses(BoringModel):
    """Logs given validation losses, one per epoch."""

    def __init__(self, losses: list[float]) -> None:
        super().__init__()
        self.losses = losses

    def validation_step(self, batch: object, batch_idx: int) -> None:
        self.log("val/loss", torch.tensor(self.losses[self.current_epoch]))


def epochs(folder: Path, losses: list[float], **options: int) -> int:
    """Number of epochs until training stops."""
    stopping = EarlyStoppingAfterWarmup(**options)
    limits = {"limit_train_batches": 1, "limit_val_batches": 1, "num_sanity_val_steps": 0}
    run = trainer(folder, max_epochs=len(losses), callbacks=[stopping], enable_checkpointing=False, **limits)
    run.fit(Losses(losses))
    return run.current_epoch


def test_epochs_of_the_warmup_do_not_count(tmp_path: Path) -> None:
    worse = [1.0, *[2.0] * 11]
    assert epochs(tmp_path, worse, warmup_epochs=0, patience=3) == 4
    assert epochs(tmp_path, worse, warmup_epochs=6, patience=3) == 8  # epochs 6, 7 and 8 are worse than the first
    assert epochs(tmp_path, [1.0] * 6 + [0.5] + [1.0] * 5, warmup_epochs=6, patience=3) == 10  # the seventh improves


def test_numbers_are_checked() -> None:
    with pytest.raises(UsageError, match="expected patience of at least 1"):
        EarlyStoppingAfterWarmup(patience=0)
    with pytest.raises(UsageError, match="expected warmup_epochs of at least 0"):
        EarlyStoppingAfterWarmup(warmup_epochs=-1)


def test_a_patience_of_one_stops_at_the_first_epoch_without_improvement(tmp_path: Path) -> None:
    worse = [1.0, *[2.0] * 7]
    assert epochs(tmp_path, worse, warmup_epochs=0, patience=1) == 2
    assert epochs(tmp_path, worse, warmup_epochs=4, patience=1) == 4  # the fourth is the first that counts
