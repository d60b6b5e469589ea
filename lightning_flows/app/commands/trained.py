"""Load the contents of a checkpoint: a flow over images, graphs or vectors, and the data that it was trained on."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lightning_flows.app.commands.data_options import built
from lightning_flows.app.like_training import folder_arguments
from lightning_flows.checkpoints import read_checkpoint
from lightning_flows.checkpoints.classes import Named, find_class, is_trusted
from lightning_flows.checkpoints.recorded_data import warn_of_changes
from lightning_flows.data import FlowDataModule, GraphMoGDataModule, ImageDataModule, ImageFolderDataModule
from lightning_flows.distributions.graph_mixture import GraphMixture
from lightning_flows.errors import CheckpointError, UsageError
from lightning_flows.modules import (
    FlowModule,
    GraphFlowModule,
    ImageFlowModule,
    VAEModule,
    VectorFlowModule,
    load_model,
)
from lightning_flows.modules.checkpoint import load_component

Options = Mapping[str, Any] | None
"""Arguments of the data that override those of a checkpoint."""


def load_image_flow(path: str | None, subject: str, model: Named = None) -> ImageFlowModule:
    """Load the image flow of a checkpoint, in eval mode, on the host; ``subject`` names its use in error messages.

    ``model`` names the user's own classes in the checkpoint, as in :func:`load_model`.
    Raises: UsageError without a path; CheckpointError if it cannot be read or is a flow over graphs.
    """
    return _load(path, ImageFlowModule, "a flow over images", subject, model)


def load_image_model(path: str | None, subject: str, model: Named = None) -> ImageFlowModule | VAEModule:
    """Load the flow or VAE of images of a checkpoint; see :func:`load_image_flow`."""
    return _load(path, (ImageFlowModule, VAEModule), "images", subject, model)


def load_graph_flow(path: str | None, subject: str, model: Named = None) -> GraphFlowModule:
    """Load the graph flow of a checkpoint; see :func:`load_image_flow`."""
    return _load(path, GraphFlowModule, "graphs", subject, model)


def load_planar_flow(path: str | None, subject: str, model: Named = None) -> VectorFlowModule:
    """Load the flow over two values of a checkpoint; see :func:`load_image_flow`."""
    found = _load(path, VectorFlowModule, "vectors", subject, model)
    if found.event_shape != (2,):
        raise CheckpointError(
            f"{subject} needs vectors of two values, and those of {path} have {found.event_shape[0]}: choose another "
            "--ckpt_path"
        )
    return found


def load_rows(path: str, num: int, data: Named = None, options: Options = None) -> Tensor:
    """The first ``num`` test rows ``(num, D)`` of the data of a checkpoint of vectors, or all if there are fewer.

    Raises: CheckpointError if its data is not recorded, or has no rows.
    """
    found = _load_data(path, data, options)
    if isinstance(found, FlowDataModule):
        found.prepare_data()
        found.setup("test")
        parts: list[Tensor] = []
        for batch in found.test_dataloader():
            if "row" not in batch or sum(map(len, parts)) >= num:
                break
            parts.append(batch["row"])
        if parts:
            return torch.cat(parts)[:num]
    raise CheckpointError(f"{path} does not record rows of vectors but {_kind(found)}: use a checkpoint written by fit")


def load_images(
    path: str, model: FlowModule, images: str | None = None, data: Named = None, options: Options = None
) -> ImageDataModule:
    """The data that a checkpoint was trained on, or a folder or archive of images instead; nothing is read yet.

    ``data`` names the user's own class, if the checkpoint has one; ``options`` override arguments of the data.
    Raises: CheckpointError if its data is not an image dataset of lightning_flows, or has a different shape; UsageError
    for a folder or archive if the model is of images in fewer than 256 levels.
    """
    if images is not None:
        if isinstance(model, VAEModule) and model.num_levels != 256:
            raise UsageError(
                f"--images are in 256 levels, and the model of {path} has {model.num_levels}: omit --images to use the "
                "data of the checkpoint"
            )
        record = read_checkpoint(path)["lightning_flows"].get("data")
        arguments = folder_arguments(images, model.event_shape, record)
        own: ImageDataModule = built(ImageFolderDataModule, {}, arguments | dict(options or {}))
        if own.event_shape != model.event_shape:
            raise UsageError(
                f"the options make images of shape {own.event_shape}, and those of {path} have {model.event_shape}: "
                "omit --data.size, --data.channels and --data.downsample"
            )
        return own
    found = _load_data(path, data, options)
    if not isinstance(found, ImageDataModule) or found.event_shape != model.event_shape:
        raise CheckpointError(
            f"{path} does not record images of shape {model.event_shape} but {_kind(found)}: use --images FOLDER_OR_TAR"
        )
    return found


def load_mixture(path: str, data: Named = None, options: Options = None) -> GraphMixture:
    """Load the mixture that the graphs of a checkpoint were drawn from. Raises: CheckpointError if there is none."""
    found = _load_data(path, data, options)
    mixture = found.graph_mixture if isinstance(found, GraphMoGDataModule) else None
    if mixture is None:
        raise CheckpointError(
            f"{path} does not record complete graphs drawn from a mixture but {_kind(found)}: use a checkpoint trained "
            "with data/mog.yaml"
        )
    return mixture


def load_graphs(path: str, data: Named = None) -> GraphMoGDataModule | None:
    """Load the graphs that a checkpoint was trained on; None if their class is your own, or not recorded."""
    record = read_checkpoint(path)["lightning_flows"].get("data", {"class_path": ""})
    found = _load_data(path, data) if data or is_trusted(record["class_path"]) else None
    return found if isinstance(found, GraphMoGDataModule) else None


def _load(path: str | None, kind: Any, items: str, subject: str, named: Named) -> Any:
    if path is None:
        raise UsageError(f"{subject} needs a checkpoint of {items}: pass --ckpt_path FILE")
    model = load_model(path, named)
    if not isinstance(model, kind):
        raise CheckpointError(
            f"{subject} needs a checkpoint of {items}, and the {type(model).__name__} of {path} has events of shape "
            f"{model.event_shape}: choose another --ckpt_path"
        )
    return model


def _load_data(path: str, named: Named, options: Options = None) -> Any:
    checkpoint = read_checkpoint(path)
    if "data" not in checkpoint["lightning_flows"]:
        return None
    if options:
        record = checkpoint["lightning_flows"]["data"]
        find = partial(find_class, named=named, option="data")
        found = built(find(record["class_path"]), record["init_args"], options, find)
    else:
        found = load_component(checkpoint, "data", FlowDataModule, named)
    warn_of_changes(checkpoint["lightning_flows"], found)
    return found


def _kind(data: Any) -> str:
    return "no data" if data is None else type(data).__name__
