"""Samples during training."""

import time
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from lightning_flows.callbacks.base import every, is_drawn
from lightning_flows.callbacks.media import log_image
from lightning_flows.errors import ConvergenceError
from lightning_flows.functional.streams import stream


class SampleGrid(Callback):
    """Draw samples from the same noise after validation, for loggers and as PNG in the run's folder ``samples``.

    Images are laid out in a grid, nodes of graphs and vectors are plotted. Logs ``runtime/sample_seconds_per_image``,
    the time that sampling took, per image, graph or vector, and on a CPU ``runtime/sample_cpu_seconds_per_image``, the
    CPU time of all cores.

    Args:
        num_samples: number of samples; by default 64 images or graphs, or 1000 vectors.
        every_n_epochs: interval in epochs; samples of the last epoch are always drawn.
        temperature: scale of the noise.
        seed: seed of the noise.

    >>> from contextlib import chdir
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from lightning.pytorch.loggers import CSVLogger
    >>> from lightning_flows import AutoregressiveFlow, VectorFlowModule
    >>> from lightning_flows.app.default_trainer import default_trainer
    >>> from lightning_flows.data import ToyDataModule
    >>> options = {"max_epochs": 1, "enable_checkpointing": False, "enable_model_summary": False}
    >>> with TemporaryDirectory() as folder, chdir(folder):
    ...     trainer = default_trainer(callbacks=[SampleGrid(num_samples=50)], logger=CSVLogger("."), **options)
    ...     trainer.fit(VectorFlowModule((2,), AutoregressiveFlow), ToyDataModule(steps_per_epoch=1))
    ...     [str(path) for path in Path().rglob("*.png")]
    samples: lightning_logs/version_0/samples/epoch_0000.png
    ['lightning_logs/version_0/samples/epoch_0000.png']
    """

    def __init__(
        self, num_samples: int | None = None, every_n_epochs: int = 1, temperature: float = 1.0, seed: int = 0
    ) -> None:
        self.num_samples, self.every_n_epochs = num_samples, every(every_n_epochs)
        self.temperature, self.seed = temperature, seed

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        if not is_drawn(trainer, self.every_n_epochs):
            return
        generator = stream(self.seed, "sample grid", device=pl_module.device)
        num = self.num_samples or (1000 if len(pl_module.event_shape) == 1 else 64)
        start, cpu_start = time.perf_counter(), time.process_time()
        try:
            samples = pl_module.sample(num, temperature=self.temperature, generator=generator).cpu()
        except ConvergenceError as error:  # training continues: the model may become invertible again
            rank_zero_warn(f"no samples in epoch {trainer.current_epoch}: {error}")
            return
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
        pl_module.log("runtime/sample_seconds_per_image", seconds / num, rank_zero_only=True)
        if pl_module.device.type == "cpu":
            pl_module.log("runtime/sample_cpu_seconds_per_image", cpu_seconds / num, rank_zero_only=True)
        log_image(trainer, "samples", pl_module.draw(samples))
