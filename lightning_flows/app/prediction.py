"""Options of ``predict`` beside those of all commands with a trainer."""

from typing import Any

from jsonargparse import ArgumentParser
from lightning.pytorch.utilities import rank_zero_warn

from lightning_flows.app.held_out import calibration, is_trained_on
from lightning_flows.callbacks import PredictionWriter
from lightning_flows.data import FlowDataModule
from lightning_flows.modules import FlowModule


def add_scoring_arguments(parser: ArgumentParser) -> None:
    """Add the options that determine p-values, and the page."""
    parser.add_argument(
        "--false_alarm_rate",
        type=float | None,
        default=None,
        help="add a column `outlier`, 1 for this share of items like the held-out ones, and for outliers.",
    )
    parser.add_argument(
        "--held_out",
        type=str | None,
        default=None,
        help="folder or archive of images, not trained on, with which p-values are calibrated; by default the "
        "validation split of the checkpoint's data.",
    )
    parser.add_argument(
        "--num_held_out", type=int, default=1000, help="largest number of held-out items; 0 for no p-values."
    )
    parser.add_argument("--page", type=str | None, default=None, help="HTML file to write, of the strangest images.")


def prediction_writer(
    config: Any, checkpoint: dict[str, Any] | None, model: FlowModule, data: FlowDataModule
) -> PredictionWriter:
    """The callback that writes the files of ``predict``; warns if items that were trained on are scored."""
    held_out = calibration(
        checkpoint,
        model,
        data,
        images=config.held_out,
        num=config.num_held_out,
        false_alarm_rate=config.false_alarm_rate,
    )
    if config.num_held_out and is_trained_on(checkpoint, data) and data.predicts_training_items:
        rank_zero_warn("the items that are scored include those that were trained on, whose p-values are too high")
    return PredictionWriter(config.out, overwrite=config.overwrite, calibration=held_out, page=config.page)
