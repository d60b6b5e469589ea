"""What TensorBoard shows first."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.tensorboard.summary import hparams

LAYOUT = {
    "Training": {
        "bound, train and validation": ["Multiline", ["^(train|val)/(bpd|nll)$"]],
        "parts of the bound": ["Multiline", ["^bound/"]],
        "gap to the exact density": ["Multiline", ["^val/gap$"]],
        "gradient norm before clipping": ["Multiline", ["^optimizer/gradient_norm$"]],
        "learning rate": ["Multiline", ["^optimizer/learning_rate$"]],
    },
    "Inverse": {
        "round-trip error": ["Multiline", ["^inverse/round_trip_error$"]],
        "iterations": ["Multiline", ["^inverse/(most_)?iterations$"]],
    },
    "Runtime": {
        "seconds of a training step": ["Multiline", ["^runtime/train_step_seconds$"]],
        "items a second": ["Multiline", ["^runtime/images_per_second$"]],
        "seconds of sampling, an item": ["Multiline", ["^runtime/sample_seconds_per_image$"]],
        "peak memory, MiB": ["Multiline", ["^runtime/peak_memory_mib$"]],
    },
}
"""Sections of the tab Custom Scalars: titles, and patterns of tags."""
MEANINGLESS = {"bpd": {"gap to the exact density"}, "nll": {"iterations"}}
"""Charts that stay empty for images and for graphs, by the unit of the loss."""


class Dashboard(Callback):
    """Lay TensorBoard's tab Custom Scalars out, and put the run into the tab HParams with what validation monitors.

    Hyper-parameters are those of model and data; the metric, ``val/bpd`` or ``val/nll``, is the last one logged.
    """

    @rank_zero_only
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write layout and hyper-parameters."""
        logger = trainer.logger
        if not isinstance(logger, TensorBoardLogger):
            return
        unit = getattr(pl_module, "unit", "loss")
        metric, empty = f"val/{unit}", MEANINGLESS.get(unit, set())
        logger.experiment.add_custom_scalars(
            {section: {k: v for k, v in charts.items() if k not in empty} for section, charts in LAYOUT.items()}
        )
        datamodule = getattr(trainer, "datamodule", None)
        parameters = dict(getattr(datamodule, "hparams", {})) | dict(pl_module.hparams)
        writer = logger.experiment._get_file_writer()
        for summary in hparams({key: _plain(value) for key, value in parameters.items()}, {metric: 0.0}):
            writer.add_summary(summary)


def _plain(value: Any) -> bool | int | float | str:
    return value if isinstance(value, bool | int | float | str) else str(value)
