"""Models from checkpoints."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn.modules.module import register_module_parameter_registration_hook

from lightning_flows.checkpoints import construct, public_path, read_checkpoint
from lightning_flows.errors import CheckpointError
from lightning_flows.modules.base import FlowModule, check_state_dict
from lightning_flows.trust import vetted_imports

__all__ = ["checkpoint_config", "load_component", "load_model", "read_checkpoint"]


def checkpoint_config(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The sections ``model`` and ``data`` of a config that rebuild what the checkpoint was trained with."""
    record = checkpoint["lightning_flows"]
    return {key: record[key] for key in ("model", "data") if key in record}


def load_model(path: str | Path, model: type[FlowModule] | str | None = None) -> FlowModule:
    """Rebuild the model of a checkpoint, in eval mode, on the host.

    Args:
        path: checkpoint.
        model: your own class, or its path, if the checkpoint names it; not needed for classes of lightning_flows.

    Raises: CheckpointError if it cannot be read or names another class.
    """
    checkpoint = read_checkpoint(path)
    with no_larger_than(checkpoint):
        built = load_component(checkpoint, "model", FlowModule, model)
    check_state_dict(built, checkpoint)
    built.load_state_dict(checkpoint["state_dict"])
    return built.eval()


def load_component(checkpoint: dict[str, Any], section: str, base: type, permitted: type | str | None = None) -> Any:
    """Rebuild the model or data of a checkpoint. Raises: CheckpointError if its class is not permitted."""
    config = checkpoint_config(checkpoint)[section]
    class_path = config["class_path"]
    with vetted_imports([f"--{section}", permitted] if isinstance(permitted, str) else []):
        kind = _permitted(permitted, class_path, section) if permitted else _of_the_package(class_path, section)
        if not (isinstance(kind, type) and issubclass(kind, base)):
            raise CheckpointError(f"the checkpoint names {class_path}, which is no {base.__name__}: give another one")
        return construct(kind, config["init_args"])


@contextmanager
def no_larger_than(checkpoint: dict[str, Any]) -> Iterator[None]:
    """Stop a model that is built for a checkpoint as soon as it is far larger than the weights there.

    A parameter is counted before its values are drawn, and so before its memory is taken.

    Raises: CheckpointError.
    """
    weights = [value for value in checkpoint["state_dict"].values() if isinstance(value, Tensor)]
    storages = {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in weights}
    number, size = 100 + 4 * len(weights), 2**24 + 4 * sum(storages.values())

    def count(module: Any, name: str, parameter: Tensor | None) -> None:
        nonlocal number, size
        if parameter is not None:
            number, size = number - 1, size - parameter.numel() * parameter.element_size()
        if number < 0 or size < 0:
            raise CheckpointError(
                "the model is far larger than the weights in the checkpoint: leave out the model's arguments to take "
                "them from there, or give a checkpoint that fit wrote"
            )

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def import_class(path: str) -> Any:
    """Import the object at a class path; None if it does not exist."""
    module_name, _, class_name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module_name), class_name, None) if module_name else None
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            return None
        raise


def not_permitted(class_path: str, section: str) -> CheckpointError:
    """The error for a checkpoint of a user's class, with the option to add."""
    return CheckpointError(
        f"the checkpoint is of {class_path}, a class that is not of lightning_flows: if you trust it, add "
        f"--{section}={class_path} (in Python, {section}={class_path.rpartition('.')[2]})"
    )


def _of_the_package(class_path: str, section: str) -> Any:
    if not class_path.startswith("lightning_flows."):
        raise not_permitted(class_path, section)
    kind = import_class(class_path)
    if kind is None:
        raise CheckpointError(
            f"the checkpoint is of {class_path}, which this version of lightning_flows does not have: use the one that "
            "wrote it, or train anew"
        )
    return kind


def _permitted(permitted: type | str, class_path: str, section: str) -> Any:
    kind = import_class(permitted) if isinstance(permitted, str) else permitted
    if kind is None:
        raise CheckpointError(
            f"{permitted} cannot be imported: give --{section} the path of a class, such as {class_path}"
        )
    if not isinstance(kind, type) or public_path(kind) != class_path:
        raise CheckpointError(
            f"the checkpoint is of {class_path}, not of {permitted if isinstance(permitted, str) else kind}: give "
            f"--{section}={class_path}"
        )
    return kind
