"""Samples during training."""

import time
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn
from torchvision.io import encode_png

from lightning_flows.callbacks.base import every, run_folder
from lightning_flows.errors import ConvergenceError
from lightning_flows.files import folder_inside, replaced
from lightning_flows.functional.streams import stream


class SampleGrid(Callback):
    """Draw samples from the same noise after validation, for TensorBoard and as PNG in the run's folder ``samples``.

    Images are laid out in a grid, nodes of graphs and vectors are plotted. Logs ``runtime/sample_seconds_per_image``,
    the time that sampling took, per image or graph.

    Args:
        num_samples: number of samples.
        every_n_epochs: interval in epochs; samples of the last epoch are always drawn.
        temperature: scale of the noise.
        seed: seed of the noise.
    """

    def __init__(self, num_samples: int = 64, every_n_epochs: int = 1, temperature: float = 1.0, seed: int = 0) -> None:
        self.num_samples, self.every_n_epochs = num_samples, every(every_n_epochs)
        self.temperature, self.seed = temperature, seed

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        epoch, last = trainer.current_epoch, (trainer.max_epochs or 0) - 1
        if trainer.sanity_checking or (epoch % self.every_n_epochs and epoch != last):
            return
        generator = stream(self.seed, "sample grid", device=pl_module.device)
        start = time.perf_counter()
        try:
            samples = pl_module.sample(self.num_samples, temperature=self.temperature, generator=generator).cpu()
        except ConvergenceError as error:  # training continues: the model may become invertible again
            rank_zero_warn(f"no samples in epoch {epoch}: {error}")
            return
        seconds = (time.perf_counter() - start) / self.num_samples
        pl_module.log("runtime/sample_seconds_per_image", seconds, rank_zero_only=True)
        image = pl_module.draw(samples)
        if isinstance(trainer.logger, TensorBoardLogger):
            trainer.logger.experiment.add_image("samples", image, trainer.global_step)
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]  # a trial run writes no files
            with replaced(folder_inside(run_folder(trainer), "samples") / f"epoch_{epoch:04d}.png") as file:
                file.write(encode_png(image).numpy().tobytes())
