"""Latents against the normal distribution that they are to follow."""

from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from lightning_flows.callbacks.base import every
from lightning_flows.callbacks.watched import ValidationItems
from lightning_flows.reporting.figures.latents import latents_figure


class LatentHistogram(ValidationItems):
    """Show how the latents of validation items are distributed, after validations: to TensorBoard alone.

    Histograms ``latents/level_1`` … of what each level factors out, standardized by its prior, beside
    ``latents/normal``, the same number of quantiles of the standard normal distribution; and a figure ``latents`` with
    all of them and the normal density.

    Args:
        num_items: validation items that are encoded.
        every_n_epochs: validations between two of them.
    """

    def __init__(self, num_items: int = 32, every_n_epochs: int = 1) -> None:
        super().__init__(num_items)
        self.every_n_epochs = every(every_n_epochs)

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Encode, show."""
        watched, logger = self.take(pl_module), trainer.logger
        due = trainer.current_epoch % self.every_n_epochs == 0
        if watched is None or not isinstance(logger, TensorBoardLogger) or not due:
            return
        latents = pl_module.standardize(pl_module.encode(watched.batch))
        levels = [
            (latent[watched.exists] if latent.shape == watched.exists.shape else latent).float().flatten().cpu()
            for latent in latents
        ]
        levels = [latent[latent.isfinite()] for latent in levels]
        if any(latent.numel() == 0 for latent in levels):
            return
        step = trainer.global_step
        for number, latent in enumerate(levels, 1):
            logger.experiment.add_histogram(f"latents/level_{number}", latent, step)
        logger.experiment.add_histogram("latents/normal", normal_quantiles(levels[-1].numel()), step)
        logger.experiment.add_figure("latents", latents_figure(levels), step)


def normal_quantiles(num: int) -> Tensor:
    """Values that share the mass of the standard normal distribution equally: ``(num,)``.

    >>> normal_quantiles(3)
    tensor([-0.9674,  0.0000,  0.9674])
    """
    return torch.special.ndtri((torch.arange(num) + 0.5) / num)
