"""What a checkpoint holds: a flow over images or graphs, and the data that it was trained on."""

from typing import Any

from lightning_flows.data import FlowDataModule, GraphMoGDataModule, ImageDataModule, ImageFolderDataModule
from lightning_flows.distributions.graph_mixture import GraphMixture
from lightning_flows.errors import CheckpointError, UsageError
from lightning_flows.modules import FlowModule, GraphFlowModule, ImageFlowModule, load_model, read_checkpoint
from lightning_flows.modules.checkpoint import checkpoint_config, load_component


def load_image_flow(path: str | None, subject: str, kind: str | None = None) -> ImageFlowModule:
    """The image flow of a checkpoint, in eval mode, on the host; error messages say that it is for ``subject``.

    ``kind`` is the path of the user's own class, if the checkpoint names it.
    Raises: UsageError without a path; CheckpointError if it cannot be read or is a flow on graphs.
    """
    model = _load_model(path, "images", subject, kind)
    if not isinstance(model, ImageFlowModule):
        raise _other_kind(path, "images", subject, model)
    return model


def load_graph_flow(path: str | None, subject: str, kind: str | None = None) -> GraphFlowModule:
    """The flow over graphs of a checkpoint; see :func:`load_image_flow`."""
    model = _load_model(path, "graphs", subject, kind)
    if not isinstance(model, GraphFlowModule):
        raise _other_kind(path, "graphs", subject, model)
    return model


def load_images(
    path: str, model: ImageFlowModule, images: str | None = None, kind: str | None = None
) -> ImageDataModule:
    """The data that a checkpoint was trained on, or a folder or tar of images instead; nothing is read yet.

    ``kind`` is the path of the user's own class, if the checkpoint names it.
    Raises: CheckpointError if its data is not an image dataset of lightning_flows, or has another shape.
    """
    if images is not None:
        channels, size, _ = model.event_shape
        return ImageFolderDataModule(images, size=size, channels=channels)
    data = _load_data(path, kind)
    if not isinstance(data, ImageDataModule) or data.event_shape != model.event_shape:
        raise CheckpointError(
            f"expected a checkpoint whose data are images of shape {model.event_shape}; got {path} with "
            f"{type(data).__name__}: give --images FOLDER_OR_TAR"
        )
    return data


def load_mixture(path: str, kind: str | None = None) -> GraphMixture:
    """The mixture that the graphs of a checkpoint were drawn from. Raises: CheckpointError if it names none."""
    data = _load_data(path, kind)
    mixture = data.graph_mixture if isinstance(data, GraphMoGDataModule) else None
    if mixture is None:
        raise CheckpointError(
            f"expected a checkpoint whose graphs are complete and drawn from a mixture; got {path} with "
            f"{type(data).__name__}: name one that was trained by a config of table4/"
        )
    return mixture


def load_graphs(path: str, kind: str | None = None) -> GraphMoGDataModule | None:
    """The graphs that a checkpoint was trained on; None if they are of a class of your own, or not recorded."""
    config = checkpoint_config(read_checkpoint(path)).get("data", {"class_path": ""})
    data = _load_data(path, kind) if kind or config["class_path"].startswith("lightning_flows.") else None
    return data if isinstance(data, GraphMoGDataModule) else None


def _load_model(path: str | None, kind: str, subject: str, own: str | None) -> FlowModule:
    if path is None:
        raise UsageError(f"expected a checkpoint of {kind} for {subject}; got none: give --ckpt_path FILE")
    return load_model(path, own)


def _other_kind(path: str | None, kind: str, subject: str, model: FlowModule) -> CheckpointError:
    return CheckpointError(
        f"expected a checkpoint of {kind} for {subject}; got {path}, whose {type(model).__name__} has events of shape "
        f"{model.event_shape}: name another --ckpt_path"
    )


def _load_data(path: str, kind: str | None) -> Any:
    checkpoint = read_checkpoint(path)
    if "data" not in checkpoint["lightning_flows"]:
        return None
    return load_component(checkpoint, "data", FlowDataModule, kind)
