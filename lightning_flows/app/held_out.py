"""The held-out items with which ``predict`` calibrates p-values."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

from lightning_flows.app.like_training import folder_arguments
from lightning_flows.callbacks.calibration import Calibration
from lightning_flows.checkpoints import describe
from lightning_flows.data import FlowDataModule, ImageFolderDataModule
from lightning_flows.data_identity import identity, same_path
from lightning_flows.errors import CheckpointError, UsageError
from lightning_flows.modules import FlowModule
from lightning_flows.modules.checkpoint import load_component


def calibration(
    checkpoint: dict[str, Any] | None,
    model: FlowModule,
    data: FlowDataModule,
    *,
    images: str | None = None,
    num: int = 1000,
    false_alarm_rate: float | None = None,
) -> Calibration:
    """Held-out items: a folder or archive of images, or else the validation split of the data that was trained on.

    That is the split of the data that the checkpoint records, not of ``data``, which may be of another kind, or divided
    differently. Raises: UsageError for images if the model has other items, or levels.
    """
    if images is not None:
        own = _folder(images, model, data, _record(checkpoint))
        return Calibration(
            lambda: _reported(own, checkpoint), split="predict", num=num, false_alarm_rate=false_alarm_rate
        )
    return Calibration(lambda: _trained_on(checkpoint, data), num=num, false_alarm_rate=false_alarm_rate)


def is_trained_on(checkpoint: dict[str, Any] | None, data: FlowDataModule) -> bool:
    """Whether ``data`` has the items that a checkpoint records, divided in the same way."""
    record = _record(checkpoint)
    return record is not None and identity(record) == identity(describe(data))


def _trained_on(checkpoint: dict[str, Any] | None, data: FlowDataModule) -> FlowDataModule:
    if checkpoint is None or _record(checkpoint) is None:
        raise CheckpointError("the checkpoint does not record its data")
    if is_trained_on(checkpoint, data):
        return data
    found: FlowDataModule = load_component(checkpoint, "data", FlowDataModule, [type(data)])
    return found


def _reported(own: ImageFolderDataModule, checkpoint: dict[str, Any] | None) -> ImageFolderDataModule:
    """Warn if held-out items were trained on; return them."""
    record = _record(checkpoint) or {"class_path": "", "init_args": {}}
    kind, arguments = identity(record)
    same = kind == describe(own)["class_path"] and arguments.get("root") == same_path("root", own.hparams["root"])
    if same and own.predicts_training_items:
        rank_zero_warn("the held-out items include those that were trained on: p-values of others are too low")
    return own


def _folder(
    images: str, model: FlowModule, data: FlowDataModule, record: Mapping[str, Any] | None
) -> ImageFolderDataModule:
    if len(model.event_shape) != 3:
        raise UsageError("--held_out takes images, and the model is not one of images: omit it")
    if data.num_levels not in (None, 256):
        raise UsageError("--held_out takes images with 256 levels, and those of the model have fewer: omit it")
    # there is no option for files of this folder alone, and a few held-out items fewer do no harm
    return ImageFolderDataModule(**folder_arguments(images, model.event_shape, record), skip_broken=True)


def _record(checkpoint: dict[str, Any] | None) -> Mapping[str, Any] | None:
    return None if checkpoint is None else checkpoint["lightning_flows"].get("data")
