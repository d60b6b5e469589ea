"""Modules from configs, without training."""

from collections.abc import Sequence
from typing import Any

from lightning_flows.app.configs import load_configs
from lightning_flows.modules import FlowModule
from lightning_flows.modules.checkpoint import load_component

SHAPE = (3, 32, 32)
REDUCED = ["size/cpu_glow.yaml"]
"""Options that reduce the flows of Table 1 for two CPU cores."""


def build(*configs: str, event_shape: Sequence[int] = SHAPE, dequantization: Any = None, **flow: Any) -> FlowModule:
    """Build the module of stacked configs; further arguments override those of its dequantization and flow."""
    record = load_configs(*configs)["model"]
    arguments = record["init_args"]
    arguments["event_shape"] = list(event_shape)
    _merge(arguments["flow"]["init_args"], flow)
    if dequantization:
        _merge(arguments["dequantization"]["init_args"], dequantization)
    return load_component({"lightning_flows": {"model": record}}, "model", FlowModule)


def _merge(into: dict[str, Any], options: dict[str, Any]) -> None:
    for name, value in options.items():
        if isinstance(value, dict):
            _merge(into.setdefault(name, {}), value)
        else:
            into[name] = value
