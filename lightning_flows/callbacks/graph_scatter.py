"""Graphs and learned densities as training goes."""

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from lightning_flows.callbacks.base import every, run_folder
from lightning_flows.files import folder_inside, replaced
from lightning_flows.functional.streams import stream
from lightning_flows.reporting.figures.graphs import graph_figure


class GraphScatter(Callback):
    """Draw data, samples and the learned density of a node after validations: for TensorBoard, and as PNG in samples/.

    Needs data of complete graphs that knows its mixture; with other data it does nothing. The latents and the data's
    graphs are the same each time.

    Args:
        num_graphs: graphs that are drawn.
        every_n_epochs: validations between two images; the last epoch is always drawn.
        seed: of graphs and latents.
    """

    def __init__(self, num_graphs: int = 256, every_n_epochs: int = 1, seed: int = 0) -> None:
        self.num_graphs, self.every_n_epochs, self.seed = num_graphs, every(every_n_epochs), seed

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw, show, save."""
        mixture = getattr(trainer.datamodule, "graph_mixture", None)  # type: ignore[attr-defined]
        last = trainer.current_epoch + 1 == trainer.max_epochs
        due = last or trainer.current_epoch % self.every_n_epochs == 0
        if trainer.sanity_checking or mixture is None or not due:
            return
        data = mixture.sample(self.num_graphs, generator=stream(self.seed, "graphs of an image"))
        samples = pl_module.sample(
            self.num_graphs, generator=stream(self.seed, "samples of an image", device=pl_module.device)
        ).cpu()
        figure = graph_figure(data, samples, lambda graphs: pl_module(graphs.to(pl_module.device)))
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return  # a trial run writes no files
        folder = folder_inside(run_folder(trainer), "samples")
        with replaced(folder / f"epoch_{trainer.current_epoch:04d}.png") as file:
            figure.savefig(file, format="png", dpi=100)
        if isinstance(trainer.logger, TensorBoardLogger):
            trainer.logger.experiment.add_figure("graphs", figure, trainer.global_step)
