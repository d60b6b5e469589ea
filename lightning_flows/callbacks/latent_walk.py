"""Walks through the latent space of a VAE."""

from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from lightning_flows.callbacks.base import ValidationItems, every, is_drawn
from lightning_flows.callbacks.media import log_image
from lightning_flows.modules.image_grid import image_grid
from lightning_flows.reporting.figures.images import interpolate


class LatentWalk(ValidationItems):
    """Show what a VAE decodes on paths between the latents of validation images, or on a grid of two latents.

    Each row is a path between two images, see :func:`interpolate`. Two-dimensional latents are shown on a grid
    of points at quantiles of the prior instead. Writes to loggers and as PNG to the run's folder ``latent_walk``.

    Args:
        num_paths: number of rows.
        num_steps: number of images of a path, or of a side of the grid.
        every_n_epochs: interval in epochs; the last epoch is always drawn.

    >>> from contextlib import chdir
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from lightning.pytorch.loggers import CSVLogger
    >>> from lightning_flows.app.default_trainer import default_trainer
    >>> from lightning_flows.data import DigitsDataModule
    >>> from lightning_flows.modules import VAEModule
    >>> from lightning_flows.nets.gated_conv import GatedConvSizes
    >>> module = VAEModule((1, 8, 8), 17, latent_size=2, sizes=GatedConvSizes(width=4, features=8, hidden=8))
    >>> options = {"max_epochs": 1, "enable_checkpointing": False, "enable_model_summary": False}
    >>> with TemporaryDirectory() as folder, chdir(folder):
    ...     trainer = default_trainer(callbacks=[LatentWalk(num_steps=5)], logger=CSVLogger("."), **options)
    ...     trainer.fit(module, DigitsDataModule())
    ...     [str(path) for path in Path().rglob("*.png")]
    ['lightning_logs/version_0/latent_walk/epoch_0000.png']
    """

    def __init__(self, num_paths: int = 8, num_steps: int = 10, every_n_epochs: int = 1) -> None:
        super().__init__(2 * num_paths)
        self.num_steps, self.every_n_epochs = num_steps, every(every_n_epochs)

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        batch = self.take()
        if batch is None or not is_drawn(trainer, self.every_n_epochs):
            return
        half = len(batch["index"]) // 2
        if pl_module.model.latent_size == 2:
            grid = latent_grid(self.num_steps).to(pl_module.device, pl_module.model.dtype)
            images = pl_module.pixels(pl_module.decode([grid], batch))
        elif half:
            first, second = ({name: x[part] for name, x in batch.items()} for part in _halves(half))
            images = interpolate(pl_module, first, second, self.num_steps).flatten(0, 1)
        else:
            return
        log_image(trainer, "latent_walk", image_grid(images.cpu(), self.num_steps))


def latent_grid(num: int) -> Tensor:
    """Quantiles of two standard normal latents, ``(num², 2)``: the first rises along rows, the second falls downward.

    >>> latent_grid(2)
    tensor([[-0.6745,  0.6745],
            [ 0.6745,  0.6745],
            [-0.6745, -0.6745],
            [ 0.6745, -0.6745]])
    """
    quantiles = torch.special.ndtri((torch.arange(num) + 0.5) / num)
    return torch.stack([quantiles.repeat(num), -quantiles.repeat_interleave(num)], dim=1)


def _halves(size: int) -> tuple[slice, slice]:
    return slice(size), slice(size, 2 * size)
