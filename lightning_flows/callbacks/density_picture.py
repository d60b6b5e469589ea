"""Data, samples and learned density in the plane."""

from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from lightning_flows.callbacks.base import ValidationItems, every, is_drawn
from lightning_flows.callbacks.media import log_figure
from lightning_flows.errors import ConvergenceError
from lightning_flows.functional.streams import stream
from lightning_flows.reporting.figures.density import density_figure


class DensityPicture(ValidationItems):
    """Draw data, samples and the density of a flow over two values after validation; nothing for other flows.

    The picture is ``density.png`` in the folder of the run, which each drawing replaces, and the image ``density`` in
    loggers.

    Args:
        num_points: number of validation items and of samples; no more items than in a validation batch.
        every_n_epochs: interval in epochs; the last epoch is always drawn.
        seed: seed of the noise of samples.

    >>> from contextlib import chdir
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from lightning.pytorch.loggers import CSVLogger
    >>> from lightning_flows import AutoregressiveFlow, VectorFlowModule
    >>> from lightning_flows.app.default_trainer import default_trainer
    >>> from lightning_flows.data import ToyDataModule
    >>> options = {"max_epochs": 1, "enable_checkpointing": False, "enable_model_summary": False}
    >>> with TemporaryDirectory() as folder, chdir(folder):
    ...     trainer = default_trainer(callbacks=[DensityPicture(num_points=100)], logger=CSVLogger("."), **options)
    ...     trainer.fit(VectorFlowModule((2,), AutoregressiveFlow), ToyDataModule(steps_per_epoch=1))
    ...     [str(path) for path in Path().rglob("*.png")]
    density: lightning_logs/version_0/density.png
    ['lightning_logs/version_0/density.png']
    """

    def __init__(self, num_points: int = 3000, every_n_epochs: int = 1, seed: int = 0) -> None:
        super().__init__(num_points)
        self.every_n_epochs, self.seed = every(every_n_epochs), seed

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        batch = self.take()
        if batch is None or pl_module.event_shape != (2,) or not is_drawn(trainer, self.every_n_epochs):
            return
        generator = stream(self.seed, "density picture", device=pl_module.device)
        try:
            samples = pl_module.sample(self.num_items, generator=generator)
        except ConvergenceError as error:  # training continues: the model may become invertible again
            rank_zero_warn(f"no picture of the density in epoch {trainer.current_epoch}: {error}")
            return
        data, _ = pl_module.values(batch)
        log_figure(trainer, "density", density_figure(data, samples, lambda x: pl_module(x.to(data))))
