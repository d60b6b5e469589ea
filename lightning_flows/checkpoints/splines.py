"""Refuse checkpoints of flows whose splines an earlier version evaluated differently."""

from collections.abc import Mapping
from typing import Any

from packaging.version import InvalidVersion, Version
from torch import nn

from lightning_flows import __version__
from lightning_flows.errors import CheckpointError

NEW_SPLINES = "0.10"
"""First version in which splines with the same parameters map values differently."""


def check_splines(model: nn.Module, checkpoint: Mapping[str, Any]) -> None:
    """Raise CheckpointError if the model has splines, which an earlier version would have evaluated differently."""
    version = checkpoint.get("lightning_flows", {}).get("version", __version__)
    if _is_older(version, NEW_SPLINES) and any(_has_spline(module) for module in model.modules()):
        raise CheckpointError(
            f"lightning_flows {version} wrote the checkpoint, with splines that have changed in {NEW_SPLINES}: use "
            f"{version}, or retrain"
        )


def _is_older(version: str, than: str) -> bool:
    try:
        return Version(version) < Version(than)
    except InvalidVersion:
        return False


def _has_spline(module: nn.Module) -> bool:
    return "spline" in (getattr(module, "value_map", ""), getattr(module, "node_map", ""))
