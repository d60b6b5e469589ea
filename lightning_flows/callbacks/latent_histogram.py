"""Compare latents with the standard normal distribution."""

from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from lightning_flows.callbacks.base import ValidationItems, every, is_drawn
from lightning_flows.callbacks.media import log_figure, log_histogram, log_table
from lightning_flows.reporting.figures.latents import latents_figure


class LatentHistogram(ValidationItems):
    """Show the distribution of the latents of a few items after validations.

    Histograms ``latents/level_1`` … show what each level factors out, standardized by its prior, and ``latents/normal``
    as many quantiles of the standard normal distribution. A figure ``latents`` shows all of them and the normal
    density, and a table ``latent_moments`` contains number, mean and standard deviation of each level's. Figure and
    table are also files in the run's folder, ``latents.png`` and ``latent_moments.csv``.

    Args:
        num_items: number of validation items to encode.
        every_n_epochs: interval in epochs; the last epoch is always shown.

    >>> from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    >>> from contextlib import chdir
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from lightning.pytorch.loggers import TensorBoardLogger
    >>> from lightning_flows import AutoregressiveFlow, VectorFlowModule
    >>> from lightning_flows.app.default_trainer import default_trainer
    >>> from lightning_flows.data import ToyDataModule
    >>> options = {"max_epochs": 1, "enable_checkpointing": False, "enable_model_summary": False}
    >>> with TemporaryDirectory() as folder, chdir(folder):
    ...     trainer = default_trainer(callbacks=[LatentHistogram()], logger=TensorBoardLogger("."), **options)
    ...     trainer.fit(VectorFlowModule((2,), AutoregressiveFlow), ToyDataModule(steps_per_epoch=1))
    ...     EventAccumulator(trainer.log_dir).Reload().Tags()["histograms"]
    ['latents/level_1', 'latents/normal']
    """

    def __init__(self, num_items: int = 32, every_n_epochs: int = 1) -> None:
        super().__init__(num_items)
        self.every_n_epochs = every(every_n_epochs)

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        if (batch := self.take()) is None or not is_drawn(trainer, self.every_n_epochs):
            return
        _, exists = pl_module.values(batch)
        latents = pl_module.standardize(pl_module.encode(batch))
        levels = [z[exists] if z.shape == exists.shape else z for z in latents]  # padding has no latents
        levels = [z[z.isfinite()].float().cpu() for z in levels]
        if any(z.numel() == 0 for z in levels):
            return
        for number, z in enumerate(levels, 1):
            log_histogram(trainer, f"latents/level_{number}", z)
        log_histogram(trainer, "latents/normal", normal_quantiles(levels[-1].numel()))
        log_figure(trainer, "latents", latents_figure(levels))
        moments = [
            [number, z.numel(), z.mean().item(), z.std(correction=0).item()] for number, z in enumerate(levels, 1)
        ]
        log_table(trainer, "latent_moments", ["level", "values", "mean", "standard deviation"], moments)


def normal_quantiles(num: int) -> Tensor:
    """Quantiles ``(num,)`` that divide the standard normal distribution into equal masses.

    >>> normal_quantiles(3)
    tensor([-0.9674,  0.0000,  0.9674])
    """
    return torch.special.ndtri((torch.arange(num) + 0.5) / num)
