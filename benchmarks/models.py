"""Modules from configs, without training."""

from collections.abc import Sequence
from typing import Any

from lightning_flows.app.configs import load_configs
from lightning_flows.app.yaml_text import load_yaml
from lightning_flows.modules import FlowModule
from lightning_flows.modules.checkpoint import load_component

SHAPE = (3, 32, 32)
REDUCED = ["size/cpu_glow.yaml"]
"""Options that reduce the flows of Table 1 for two CPU cores."""


def build(*layers: str, event_shape: Sequence[int] = SHAPE, dequantization: Any = None, **flow: Any) -> FlowModule:
    """Build the module of stacked configs and options; further arguments override those of its dequantization and flow.

    Options are those of ``fit`` that set arguments of components, such as ``--model.flow.net.width=8``.
    """
    record = settings(*layers)["model"]
    arguments = record["init_args"]
    arguments["event_shape"] = list(event_shape)
    _merge(arguments["flow"]["init_args"], flow)
    if dequantization:
        _merge(arguments["dequantization"]["init_args"], dequantization)
    return load_component({"lightning_flows": {"model": record}}, "model", FlowModule)


def settings(*layers: str) -> dict[str, Any]:
    """Stacked configs with the values of options."""
    config = load_configs(*(layer for layer in layers if not layer.startswith("--")))
    for option in (layer for layer in layers if layer.startswith("--")):
        _set(config, *option[2:].split("=", 1))
    return config


def _set(config: dict[str, Any], option: str, value: str) -> None:
    """Set an argument of a component."""
    *above, last = option.split(".")
    for name in above:
        config = config.setdefault(name, {})
        config = config.setdefault("init_args", {}) if "class_path" in config else config
    config[last] = load_yaml(value, option)


def _merge(into: dict[str, Any], options: dict[str, Any]) -> None:
    for name, value in options.items():
        if isinstance(value, dict):
            _merge(into.setdefault(name, {}), value)
        else:
            into[name] = value
