"""A folder of images, prepared like those that a model was trained on."""

from collections.abc import Mapping, Sequence
from typing import Any


def folder_arguments(root: str, event_shape: Sequence[int], record: Mapping[str, Any] | None) -> dict[str, Any]:
    """Arguments of ImageFolderDataModule for images of a shape, averaged over squares as large as those in training.

    Args:
        root: folder or archive.
        event_shape: shape of the model's images, ``(C, H, W)``.
        record: the data that a checkpoint records; None if it does not.

    >>> folder_arguments("mine", (3, 8, 8), {"init_args": {"downsample": 4}})
    {'root': 'mine', 'size': 32, 'channels': 3, 'downsample': 4}
    """
    channels, height, width = event_shape
    found = ({} if record is None else record["init_args"]).get("downsample", 1)
    factor = found if isinstance(found, int) and found > 0 else 1
    size = factor * height if height == width else [factor * height, factor * width]
    return {"root": root, "size": size, "channels": channels, "downsample": factor}
