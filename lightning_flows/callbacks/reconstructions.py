"""Images and their reconstructions."""

import math
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_only

from lightning_flows.callbacks.base import ValidationItems, every, is_drawn
from lightning_flows.callbacks.media import log_image
from lightning_flows.modules.image_grid import image_grid


class Reconstructions(ValidationItems):
    """Show validation images next to what a VAE decodes from their latents, drawn from the posterior.

    Writes to loggers and as PNG to the run's folder ``reconstructions``: each image on the left of its
    reconstruction.

    Args:
        num_items: number of images.
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
    ...     trainer = default_trainer(callbacks=[Reconstructions(num_items=8)], logger=CSVLogger("."), **options)
    ...     trainer.fit(module, DigitsDataModule())
    ...     [str(path) for path in Path().rglob("*.png")]
    ['lightning_logs/version_0/reconstructions/epoch_0000.png']
    """

    def __init__(self, num_items: int = 32, every_n_epochs: int = 1) -> None:
        super().__init__(num_items)
        self.every_n_epochs = every(every_n_epochs)

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        batch = self.take()
        if batch is None or not is_drawn(trainer, self.every_n_epochs):
            return
        decoded = pl_module.decode(pl_module.encode(batch), batch)
        pairs = torch.stack([pl_module.pixels(batch["image"]), pl_module.pixels(decoded)], dim=1).cpu()
        columns = 2 * math.ceil((len(pairs) / 2) ** 0.5)
        log_image(trainer, "reconstructions", image_grid(pairs.flatten(0, 1), columns))
