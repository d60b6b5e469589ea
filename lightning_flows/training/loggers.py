"""One interface to the loggers that take more than numbers: TensorBoard, Weights & Biases and MLflow.

Their packages are imported by Lightning's loggers only, so none is needed unless its logger is used.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

Row = Sequence[str | int | float]


class MediaLogger(Protocol):
    """A logger that takes images, histograms and tables.

    Shapes: ``image`` is uint8 ``(C, H, W)`` with one or three channels, ``values`` is ``(N,)`` on the CPU.
    """

    def image(self, name: str, image: Tensor, step: int) -> None: ...

    def histogram(self, name: str, values: Tensor, step: int) -> None: ...

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Row], step: int) -> None: ...

    def hyperparameters(self, values: dict[str, Any]) -> None: ...


def media_loggers(loggers: Sequence[Logger]) -> Iterator[tuple[str, MediaLogger]]:
    """Names and interfaces of those loggers that take more than numbers."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            yield "TensorBoard", TensorBoardMedia(logger)
        elif isinstance(logger, WandbLogger):
            yield "Weights & Biases", WandbMedia(logger)
        elif isinstance(logger, MLFlowLogger):
            yield "MLflow", MLflowMedia(logger)


class TensorBoardMedia:
    """Images, Histograms and, for tables, Text. Its hyperparameters need a metric: see ``Dashboard``."""

    def __init__(self, logger: TensorBoardLogger) -> None:
        self.logger = logger

    def image(self, name: str, image: Tensor, step: int) -> None:
        self.logger.experiment.add_image(name, image, step)

    def histogram(self, name: str, values: Tensor, step: int) -> None:
        self.logger.experiment.add_histogram(name, values, step)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Row], step: int) -> None:
        lines = ["| " + " | ".join(map(str, row)) + " |" for row in (columns, ["---"] * len(columns), *rows)]
        self.logger.experiment.add_text(name, "\n".join(lines), step)

    def hyperparameters(self, values: dict[str, Any]) -> None:
        """Nothing: the HParams tab reads all of them from one entry."""


class WandbMedia:
    """Images, histograms and tables of a run; hyperparameters are part of its config."""

    def __init__(self, logger: WandbLogger) -> None:
        self.logger = logger

    def image(self, name: str, image: Tensor, step: int) -> None:
        self.logger.log_image(name, [to_pil_image(image)], step=step)

    def histogram(self, name: str, values: Tensor, step: int) -> None:
        import wandb

        self.logger.log_metrics({name: wandb.Histogram(values.numpy())}, step)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Row], step: int) -> None:
        self.logger.log_table(name, list(columns), [list(row) for row in rows], step=step)

    def hyperparameters(self, values: dict[str, Any]) -> None:
        self.logger.log_hyperparams(values)


class MLflowMedia:
    """Images by step, parameters, and artifacts by step: histograms as counts and edges, and tables."""

    def __init__(self, logger: MLFlowLogger) -> None:
        self.logger = logger

    def image(self, name: str, image: Tensor, step: int) -> None:
        self.logger.experiment.log_image(self.logger.run_id, to_pil_image(image), key=name, step=step)

    def histogram(self, name: str, values: Tensor, step: int) -> None:
        counts, edges = np.histogram(values.numpy(), bins=64)
        content = {"counts": counts.tolist(), "edges": edges.tolist()}
        self.logger.experiment.log_dict(self.logger.run_id, content, f"{name}/step_{step:08d}.json")

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Row], step: int) -> None:
        data = {key: [row[i] for row in rows] for i, key in enumerate(columns)}
        self.logger.experiment.log_table(self.logger.run_id, data, f"{name}/step_{step:08d}.json")

    def hyperparameters(self, values: dict[str, Any]) -> None:
        self.logger.log_hyperparams(values)
