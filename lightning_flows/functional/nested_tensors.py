"""Tensors, and tuples, named tuples, lists and dicts of them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def mapped(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Apply a function to each tensor ``(...)`` of a value.

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


def cast(value: Any, dtype: torch.dtype) -> Any:
    """Convert floating-point tensors to a dtype; others stay as they are.

    >>> cast({"a": torch.ones(1), "b": torch.ones(1, dtype=torch.long)}, torch.float64)
    {'a': tensor([1.], dtype=torch.float64), 'b': tensor([1])}
    """
    return mapped(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor, value)
