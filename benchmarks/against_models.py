"""The same models in this revision's API and in that of earlier ones, for :mod:`against`.

A worker of :mod:`against` imports this file with the package of its own revision.
"""

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lightning_flows.dequantization import DequantizedFlow, UniformDequantization

flows: Any = importlib.import_module("lightning_flows.flows")  # of either revision
IS_OLD = not hasattr(flows, "ConvSylvesterFlow")
"""Whether flows are built by functions, as up to version 0.2."""
IMAGES, GRAPHS = (3, 32, 32), (9, 2)
LEVELS = {"num_levels": 2, "steps_per_level": 2}
WIDTHS = {"csf": 96, "csf528": 528, "residual": 96, "coupling": 96}
MIXINGS = ("conv1x1", "emerging", "woodbury", "conv_exponential")
GRAPH_FLOWS = ("gnf", "set_autoregressive", "graph_coupling")
FAMILIES = (*WIDTHS, *MIXINGS, *GRAPH_FLOWS)
LARGE, SMALL = (64, 3, 63), (32, 2, 32)
"""Width, depth and growth of the dense nets, in mixing flows and in others."""


def build(family: str, **changes: Any) -> nn.Module:
    """A flow of graphs, or a dequantized one of images, in train mode; ``changes`` override arguments."""
    if family in GRAPH_FLOWS:
        return (_old_graphs if IS_OLD else _graphs)(family, changes)
    flow: Any = (_old_images if IS_OLD else _images)(family, LEVELS | changes)
    noise = UniformDequantization(*[IMAGES] * (not IS_OLD))
    return DequantizedFlow(flow, noise).to(memory_format=torch.channels_last)


def _images(family: str, options: dict[str, Any]) -> nn.Module:
    from lightning_flows.nets import DenseSizes

    if family in MIXINGS:
        return flows.GlowFlow(IMAGES, mixing=family, net=DenseSizes(*LARGE), **options)
    kinds = {"residual": flows.ResidualFlow, "coupling": flows.CouplingFlow}
    kind: Any = kinds.get(family, flows.ConvSylvesterFlow)
    return kind(IMAGES, **{"hidden_channels": WIDTHS[family], "split": DenseSizes(*SMALL)} | options)


def _old_images(family: str, options: dict[str, Any]) -> nn.Module:
    if family in MIXINGS:
        return flows.mixing_flow(IMAGES, mixing=family, **_old_sizes("", LARGE), **options)
    kinds = {"residual": flows.residual_flow, "coupling": flows.coupling_flow}
    kind: Any = kinds.get(family, flows.conv_sylvester_flow)
    return kind(IMAGES, **{"hidden_channels": WIDTHS[family]} | _old_sizes("split_", SMALL) | options)


def _old_sizes(prefix: str, sizes: tuple[int, ...]) -> dict[str, int]:
    return {prefix + name: size for name, size in zip(("width", "depth", "growth"), sizes, strict=True)}


def _graphs(family: str, options: dict[str, Any]) -> nn.Module:
    from lightning_flows.nets import AttentionSizes

    kinds = {"gnf": flows.GraphNormalizingFlow, "set_autoregressive": flows.SetAutoregressiveFlow}
    if family == "graph_coupling":
        return flows.GraphCouplingFlow(GRAPHS, **options)
    return kinds[family](GRAPHS, net=AttentionSizes(32, 2, 4), **options)


def _old_graphs(family: str, options: dict[str, Any]) -> nn.Module:
    kinds = {"gnf": flows.graph_normalizing_flow, "set_autoregressive": flows.set_autoregressive_flow}
    if family == "graph_coupling":
        return flows.graph_coupling_flow(GRAPHS, **options)
    return kinds[family](GRAPHS, width=32, num_blocks=2, num_heads=4, **options)


def data(family: str, batch: int) -> Tensor:
    """Random images, or nodes of complete graphs."""
    if family in GRAPH_FLOWS:
        return torch.randn(batch, *GRAPHS)
    return torch.randint(256, (batch, *IMAGES), dtype=torch.uint8)


def log_prob(model: nn.Module, x: Tensor, noise: Tensor | None = None) -> Tensor:
    """Bound of images, given or random noise; log-density of graphs."""
    return model.elbo(x, noise) if isinstance(model, DequantizedFlow) else model.log_prob(x)


def sample(model: nn.Module, num: int) -> Tensor:
    """Samples, in the model's own precision."""
    return (model.flow if isinstance(model, DequantizedFlow) else model).sample(num)


def weights(model: nn.Module) -> Iterator[tuple[Tensor, Callable[[Tensor], object]]]:
    """Every weight, in the same order and form in all revisions, with a function that sets it.

    Masked convolutions appear in dense form; a split prior comes after its level.
    """
    flow: Any = model.flow if isinstance(model, DequantizedFlow) else model
    splits = [*flow.splits, nn.Identity()] if hasattr(flow, "splits") else []
    parts = [each for pair in zip(flow.levels, splits, strict=True) for each in pair] if splits else [flow]
    for part in [*parts, flow.base] if splits else parts:
        module: Any
        for module in part.modules():
            dense = hasattr(module, "dense_weight")
            if dense:
                yield module.dense_weight().detach(), module.load_dense_weight
            for name, parameter in module.named_parameters(recurse=False):
                if not (dense and name == "weight"):
                    yield parameter.detach(), parameter.data.copy_
