"""Write images, figures and tables to the run's folder, and show them in every logger that takes them."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.io import ImageReadMode, decode_png, encode_png

from lightning_flows.callbacks.base import run_folder
from lightning_flows.files import folder_inside, replaced
from lightning_flows.training.loggers import MediaLogger, Row, media_loggers

DPI = 110


def log_image(trainer: Trainer, name: str, image: Tensor) -> None:
    """Log a uint8 image ``(C, H, W)``, and write it as ``NAME/epoch_N.png`` in the run's folder.

    All functions of this module are called on the first rank only. A trial run (fast_dev_run) writes no files. If a
    logger fails, a warning says so and training continues: files are written first.

    Raises: OutputError if a file cannot be written.
    """
    if not _is_trial(trainer):
        with replaced(folder_inside(run_folder(trainer), name) / f"epoch_{trainer.current_epoch:04d}.png") as file:
            file.write(encode_png(image).numpy().tobytes())
    _log(trainer, f"the image {name}", lambda logger: logger.image(name, image, trainer.global_step))


def log_figure(trainer: Trainer, name: str, figure: Figure) -> None:
    """Log a figure as an image, and write it as ``NAME.png``, which the next one replaces; see :func:`log_image`."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    _write(trainer, f"{name}.png", buffer.getvalue())
    image = decode_png(torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8), ImageReadMode.RGB)
    _log(trainer, f"the figure {name}", lambda logger: logger.image(name, image, trainer.global_step))


def log_histogram(trainer: Trainer, name: str, values: Tensor) -> None:
    """Log a histogram of values ``(N,)``, in loggers only: a figure shows them in the run's folder."""
    found = values.detach().float().cpu().flatten()
    _log(trainer, f"the histogram {name}", lambda logger: logger.histogram(name, found, trainer.global_step))


def log_table(trainer: Trainer, name: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Log a table, and write it as ``NAME.csv``, which the next one replaces; see :func:`log_image`."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    _write(trainer, f"{name}.csv", text.getvalue().encode())
    _log(trainer, f"the table {name}", lambda logger: logger.table(name, columns, rows, trainer.global_step))


def log_hyperparameters(trainer: Trainer, values: Mapping[str, Any]) -> None:
    """Add hyperparameters to those of the model, which Lightning logs."""
    _log(trainer, "the hyperparameters", lambda logger: logger.hyperparameters(dict(values)))


def _write(trainer: Trainer, name: str, content: bytes) -> None:
    if not _is_trial(trainer):
        with replaced(run_folder(trainer) / name) as file:
            file.write(content)


def _is_trial(trainer: Trainer) -> bool:
    return bool(trainer.fast_dev_run)  # type: ignore[attr-defined]


def _log(trainer: Trainer, what: str, send: Callable[[MediaLogger], None]) -> None:
    """Send something to every logger that takes it."""
    for name, logger in media_loggers(trainer.loggers):
        try:
            send(logger)
        except Exception as error:  # a server that does not respond must not end a training of days
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            rank_zero_warn(f"{what} is not in {name} ({reason}); training continues, and the run's folder is complete")
