"""A module's method in float64, for a model of any precision."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only


class _Method(nn.Module):
    """A method of a module as a forward, which is what ``functional_call`` calls."""

    def __init__(self, module: nn.Module, name: str) -> None:
        super().__init__()
        self.module, self.name = module, name

    def forward(self, *args: Any) -> Any:
        return getattr(self.module, self.name)(*args)


def call_in_float64(module: nn.Module, name: str, *args: Any) -> Any:
    """``module.name(*args)`` with parameters, buffers and arguments in float64; the module itself stays as it is.

    Gradients flow to its parameters. Shapes and results are the method's, tensors in float64.
    """
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    state = {f"module.{key}": _double(value) for key, value in state.items()}
    return torch.func.functional_call(_Method(module, name), state, tree_map_only(Tensor, _double, args))


def _double(value: Tensor) -> Tensor:
    return value.double() if value.is_floating_point() else value
