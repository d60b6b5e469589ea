"""Arguments of calls: tensors, and contexts that are tuples, named tuples, lists or dicts of them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def mapped(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Apply a function to each tensor of a value.

    >>> mapped(torch.neg, (torch.ones(1), None, {"a": torch.ones(1)}))
    (tensor([-1.]), None, {'a': tensor([-1.])})
    """
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return {key: mapped(function, each) for key, each in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(function, each) for each in value))
    if isinstance(value, tuple | list):
        return type(value)(mapped(function, each) for each in value)
    return value


def tensors(value: Any) -> list[Tensor]:
    """All tensors of a value."""
    found: list[Tensor] = []
    mapped(lambda tensor: found.append(tensor) or tensor, value)  # type: ignore[func-returns-value]
    return found


def cast(value: Any, dtype: torch.dtype) -> Any:
    """Convert floating-point tensors to a dtype; others stay as they are."""
    return mapped(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor, value)


def items(value: Any, index: Any, batch: int) -> Any:
    """Select items of the batch; tensors that do not begin with its size are shared by all items."""
    return mapped(lambda tensor: tensor[index] if tensor.ndim and len(tensor) == batch else tensor, value)


def copied(value: Any) -> Any:
    """Detached copies of all tensors."""
    return mapped(lambda tensor: tensor.detach().clone(), value)
