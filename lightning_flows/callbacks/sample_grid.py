"""Sampled images as training goes."""

from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn
from torchvision.utils import save_image

from lightning_flows.callbacks.base import every, run_folder
from lightning_flows.errors import ConvergenceError
from lightning_flows.files import folder_inside, replaced
from lightning_flows.functional.streams import stream


class SampleGrid(Callback):
    """Draw the same latents after each validation: a grid for TensorBoard and a PNG in the run's ``samples`` folder.

    Args:
        num_samples: images in the grid.
        every_n_epochs: validations between two grids.
        temperature: factor on the noise.
        seed: of the latents; the same noise each time.
    """

    def __init__(self, num_samples: int = 64, every_n_epochs: int = 1, temperature: float = 1.0, seed: int = 0) -> None:
        self.num_samples, self.every_n_epochs = num_samples, every(every_n_epochs)
        self.temperature, self.seed = temperature, seed

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Draw, show, save."""
        if trainer.sanity_checking or trainer.current_epoch % self.every_n_epochs:
            return
        generator = stream(self.seed, "sample grid", device=pl_module.device)
        try:
            samples = pl_module.sample(self.num_samples, temperature=self.temperature, generator=generator)
        except ConvergenceError as error:  # training goes on: the model may become invertible again
            rank_zero_warn(f"no sample grid in epoch {trainer.current_epoch}: {error}")
            return
        grid = pl_module.draw(samples)
        if isinstance(trainer.logger, TensorBoardLogger):
            trainer.logger.experiment.add_image("samples", grid, trainer.global_step)
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return  # a trial run writes no files
        folder = folder_inside(run_folder(trainer), "samples")
        with replaced(folder / f"epoch_{trainer.current_epoch:04d}.png") as file:
            save_image(grid / 255, file, format="png")
