"""Reading checkpoints: only tensors and plain values, never code."""

import importlib
import pickle
from pathlib import Path
from typing import Any

import torch

from lightning_flows.errors import CheckpointError
from lightning_flows.modules.base import FlowModule, check_state_dict


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Load a checkpoint of this application on the host.

    Raises: CheckpointError if the file is missing, truncated, holds pickled code (which is not run), or was not
    written by lightning_flows.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"expected a checkpoint file; got {path}, which is not there")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        if isinstance(error, pickle.UnpicklingError) and "weights" in str(error).lower():
            raise CheckpointError(
                f"expected a checkpoint of tensors and plain values; got {path}, which holds pickled code: not run"
            ) from error
        raise CheckpointError(
            f"expected a whole checkpoint; got {path}, which is truncated or no checkpoint"
        ) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint or "lightning_flows" not in checkpoint:
        raise CheckpointError(
            f"expected a checkpoint written by lightning_flows; got {path}, which is of another program"
        )
    return checkpoint


def checkpoint_config(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The sections ``model`` and ``data`` of a config that rebuild what the checkpoint was trained with."""
    record = checkpoint["lightning_flows"]
    return {key: record[key] for key in ("model", "data") if key in record}


def load_model(path: str | Path) -> FlowModule:
    """Rebuild the model of a checkpoint, in eval mode, on the host.

    Raises: CheckpointError if it cannot be read or names a class outside of lightning_flows.
    """
    checkpoint = read_checkpoint(path)
    config = checkpoint_config(checkpoint)["model"]
    module_name, _, class_name = config["class_path"].rpartition(".")
    if not module_name.startswith("lightning_flows."):
        raise CheckpointError(
            f"expected a model of lightning_flows; got {config['class_path']}: import that class yourself and use its "
            "load_from_checkpoint"
        )
    try:
        kind = getattr(importlib.import_module(module_name), class_name, None)
    except ImportError as error:
        raise CheckpointError(
            f"expected a model of this version of lightning_flows; got {config['class_path']}, which it does not have"
        ) from error
    if not (isinstance(kind, type) and issubclass(kind, FlowModule)):
        raise CheckpointError(f"expected the name of a model; got {config['class_path']}")
    model = kind(**config["init_args"])
    check_state_dict(model, checkpoint)
    model.load_state_dict(checkpoint["state_dict"])
    return model.eval()
