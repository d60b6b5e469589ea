"""Hyperparameters and layout of dashboards."""

import re
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.tensorboard.summary import hparams

from lightning_flows.callbacks.media import log_hyperparameters

LAYOUT = {
    "Training": {
        "loss, training and validation": "^(train|val)/(bpd|nll)$",
        "terms of the bound": "^bound/",
        "gap to the exact density": "^val/gap$",
        "gradient norm before clipping": "^optimizer/gradient_norm$",
        "learning rate": "^optimizer/learning_rate$",
    },
    "Inverse": {
        "round-trip error": "^inverse/round_trip_error$",
        "iterations": "^inverse/(most_)?iterations$",
    },
    "Runtime": {
        "seconds per training step": "^runtime/train_step_seconds$",
        "items per second": "^runtime/images_per_second$",
        "seconds per sample": "^runtime/sample_seconds_per_image$",
        "peak memory, MiB": "^runtime/peak_memory_mib$",
    },
}
"""Sections of the Custom Scalars tab: titles and tag patterns."""
OF_VALIDATION = ("^val/", "^inverse/")
"""Tag patterns of charts that are omitted if the first validation logged no matching tag."""


class Dashboard(Callback):
    """Log the hyperparameters of the data beside those of the model, and lay out TensorBoard.

    TensorBoard's HParams tab shows the last ``val/loss`` next to the hyperparameters, its Custom Scalars tab, laid out
    after the first validation, the most important curves. Weights & Biases and MLflow show the data's arguments as
    ``data.NAME``.

    >>> from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    >>> from contextlib import chdir
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from lightning.pytorch.loggers import TensorBoardLogger
    >>> from lightning_flows import AutoregressiveFlow, VectorFlowModule
    >>> from lightning_flows.app.default_trainer import default_trainer
    >>> from lightning_flows.data import ToyDataModule
    >>> options = {"max_epochs": 1, "enable_checkpointing": False, "enable_model_summary": False}
    >>> with TemporaryDirectory() as folder, chdir(folder):
    ...     trainer = default_trainer(callbacks=[Dashboard()], logger=TensorBoardLogger("."), **options)
    ...     trainer.fit(VectorFlowModule((2,), AutoregressiveFlow), ToyDataModule(steps_per_epoch=1))
    ...     EventAccumulator(trainer.log_dir).Reload().Tags()["tensors"]
    ['custom_scalars__config__']
    """

    def __init__(self) -> None:
        self._is_laid_out = False

    @rank_zero_only
    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        data = getattr(trainer, "datamodule", None)
        of_data = flat(getattr(data, "hparams", {}))
        log_hyperparameters(trainer, {"data": type(data).__name__} | {f"data.{key}": x for key, x in of_data.items()})
        self._is_laid_out = False
        for board in _boards(trainer):
            for summary in hparams(of_data | flat(pl_module.hparams), {"val/loss": 0.0}):
                board.file_writer.add_summary(summary)

    @rank_zero_only
    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if self._is_laid_out or trainer.sanity_checking or trainer.state.fn != "fit":
            return
        tags = list(trainer.callback_metrics)
        layout = {
            section: {
                title: ["Multiline", [pattern]]
                for title, pattern in charts.items()
                if not pattern.startswith(OF_VALIDATION) or any(re.match(pattern, tag) for tag in tags)
            }
            for section, charts in LAYOUT.items()
        }
        for board in _boards(trainer):
            board.add_custom_scalars(layout)
        self._is_laid_out = True

    on_train_end = on_validation_end  # for runs without validation


def _boards(trainer: Trainer) -> list[Any]:
    return [logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]


def flat(parameters: Mapping[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """Flatten hyperparameters to dotted names; a component becomes the name of its class, and its arguments.

    >>> flat({"flow": {"class_path": "flows.Glow", "init_args": {"num_levels": 2}}, "shape": (1, 2)})
    {'flow': 'Glow', 'flow.num_levels': 2, 'shape': '(1, 2)'}
    """
    found: dict[str, bool | int | float | str] = {}
    for key, value in parameters.items():
        if isinstance(value, Mapping):
            if "class_path" in value:
                found[prefix + key] = str(value["class_path"]).rpartition(".")[2]
            found |= flat(value.get("init_args", {}) if "class_path" in value else value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value if isinstance(value, bool | int | float | str) else str(value)
    return found
