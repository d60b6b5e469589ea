"""Modules from configs, without training, and trained ones with their test images."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_flows.app.configs import load_configs
from lightning_flows.app.yaml_text import load_yaml
from lightning_flows.checkpoints import read_checkpoint
from lightning_flows.data import ImageDataModule
from lightning_flows.dequantization import DequantizedFlow
from lightning_flows.modules import FlowModule, load_model
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


@torch.no_grad()
def with_test_images(path: str, num: int) -> tuple[DequantizedFlow, Tensor]:
    """The model of a checkpoint, and ``num`` test images ``(num, C, H, W)`` with noise, the same in each call."""
    model: DequantizedFlow = load_model(path).model  # type: ignore[assignment]
    data: ImageDataModule = load_component(read_checkpoint(path), "data", ImageDataModule)
    data.prepare_data()
    data.setup("test")
    images = data.dataset("test").images[:num]
    return model, images + model.dequantization.sample(images, generator=torch.Generator().manual_seed(0))[0]


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
