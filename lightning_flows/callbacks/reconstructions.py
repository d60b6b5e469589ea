"""Images and their reconstructions."""

import math
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_only

from lightning_flows.callbacks.base import ValidationItems, every, is_drawn, write_image
from lightning_flows.modules.image_grid import image_grid


class Reconstructions(ValidationItems):
    """Show validation images next to what a VAE decodes from their latents, drawn from the posterior.

    Writes to TensorBoard and as PNG to the run's folder ``reconstructions``: each image on the left of its
    reconstruction.

    Args:
        num_items: number of images.
        every_n_epochs: interval in epochs; the last epoch is always drawn.
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
        write_image(trainer, "reconstructions", image_grid(pairs.flatten(0, 1), columns))
