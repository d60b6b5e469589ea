"""The same models in this revision's API and in that of earlier ones, for :mod:`against`.

Each worker of :mod:`against` imports this file with the package of its revision.
"""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lightning_flows.dequantization import DequantizedFlow, UniformDequantization

flows: Any = importlib.import_module("lightning_flows.flows")  # of either revision
IS_OLD = not hasattr(flows, "ConvSylvesterFlow")
"""Whether flows are built by functions, as up to version 0.2."""
IMAGES, GRAPHS = (3, 32, 32), (9, 2)
LEVELS = {"num_levels": 2, "steps_per_level": 2}
WIDTHS = {"csf": 96, "csf528": 528, "residual": 96, "residual_autograd": 96, "coupling": 96}
CLASSES = {"csf": "ConvSylvesterFlow", "residual": "ResidualFlow", "coupling": "CouplingFlow"}
FUNCTIONS = {"csf": "conv_sylvester_flow", "residual": "residual_flow", "coupling": "coupling_flow"}
MIXINGS = ("conv1x1", "emerging", "woodbury", "conv_exponential")
GRAPH_FLOWS = ("gnf", "set_autoregressive", "graph_coupling")
LARGE, SMALL = (64, 3, 63), (32, 2, 32)
"""Width, depth and growth of the dense nets, in mixing flows and in others."""
Assignable = Iterator[tuple[Tensor, Callable[[Tensor], object]]]


def build(family: str, *, shape: Any = IMAGES, dense: Any = None, **options: Any) -> Any:
    """Return a flow of graphs, or a dequantized flow of images; ``dense`` sets the sizes of dense nets."""
    if family in GRAPH_FLOWS:
        return (_old_graphs if IS_OLD else _graphs)(family, options)
    options = LEVELS | ({"hidden_channels": WIDTHS[family]} if family in WIDTHS else {}) | options
    if family == "residual_autograd":
        family, options["gradient"] = "residual", "autograd"
    sizes = dense or (LARGE if family in MIXINGS else SMALL)
    flow: Any = (_old_images if IS_OLD else _images)(family.removesuffix("528"), shape, sizes, options)
    noise = UniformDequantization(*[shape] * (not IS_OLD))
    return DequantizedFlow(flow, noise).to(memory_format=torch.channels_last)


def _images(family: str, shape: Any, sizes: Any, options: dict[str, Any]) -> nn.Module:
    from lightning_flows.nets import DenseSizes

    if family in MIXINGS:
        return flows.GlowFlow(shape, mixing=family, net=DenseSizes(*sizes), **options)
    return getattr(flows, CLASSES[family])(shape, split=DenseSizes(*sizes), **options)


def _old_images(family: str, shape: Any, sizes: Any, options: dict[str, Any]) -> nn.Module:
    prefix = "" if family in MIXINGS else "split_"
    options |= {prefix + name: size for name, size in zip(("width", "depth", "growth"), sizes, strict=True)}
    if family in MIXINGS:
        return flows.mixing_flow(shape, mixing=family, **options)
    return getattr(flows, FUNCTIONS[family])(shape, **options)


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


def load(path: str) -> tuple[nn.Module, dict[str, Any]]:
    """Return the model of an image checkpoint of this revision, and the arguments of :func:`build` for its sizes."""
    from lightning_flows.modules import load_model

    model: Any = load_model(path).model
    arguments = model.flow.init_args
    kind = type(model.flow).__name__
    family = next((name for name, value in CLASSES.items() if value == kind), arguments.get("mixing"))
    names = ("num_levels", "steps_per_level", "hidden_channels")
    chosen = {name: arguments[name] for name in names if name in arguments}
    sizes = arguments["split" if "split" in arguments else "net"]
    sizes = list((sizes if isinstance(sizes, dict) else asdict(sizes)).values())
    return model, {"family": family, "shape": model.event_shape, "dense": sizes, **chosen}


def data(family: str, batch: int) -> Tensor:
    """Random images, or nodes of complete graphs."""
    if family in GRAPH_FLOWS:
        return torch.randn(batch, *GRAPHS)
    return torch.randint(256, (batch, *IMAGES), dtype=torch.uint8)


def flow_of(model: Any) -> Any:
    """The flow, without its dequantization."""
    return model.flow if isinstance(model, DequantizedFlow) else model


def log_prob(model: Any, x: Tensor, noise: Tensor | None = None) -> Tensor:
    """Bound of images, given or random noise; log-density of graphs."""
    return model.elbo(x, noise) if isinstance(model, DequantizedFlow) else model.log_prob(x)


def _modules(model: nn.Module) -> Iterator[Any]:
    """All modules of a flow, in the same order in all revisions: a split prior comes after its level."""
    flow = flow_of(model)
    splits = list(getattr(flow, "splits", []))
    parts = (
        [each for level, split in zip(flow.levels, [*splits, nn.Identity()], strict=True) for each in (level, split)]
        if splits
        else [flow]
    )
    for part in [*parts, flow.base] if splits else parts:
        yield from part.modules()


def weights(model: nn.Module) -> Assignable:
    """Yield each weight, in the same form in all revisions, with a function that sets it.

    Masked kernels are dense.
    """
    for module in _modules(model):
        is_masked = hasattr(module, "dense_weight")
        if is_masked:
            yield module.dense_weight(), module.load_dense_weight
        for name, parameter in module.named_parameters(recurse=False):
            if not (is_masked and name == "weight"):
                yield parameter, parameter.copy_


def vectors(model: nn.Module) -> Assignable:
    """Yield the vector of each power iteration, with a function that sets it."""
    for module in _modules(model):
        if isinstance(getattr(module, "vector", None), Tensor):
            yield module.vector, partial(setattr, module, "vector")
