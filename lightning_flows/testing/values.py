"""Arguments of calls: tensors, and contexts that are tuples, named tuples, lists or dicts of them."""

from typing import Any

from torch import Tensor

from lightning_flows.functional.nested_tensors import mapped


def tensors(value: Any) -> list[Tensor]:
    """All tensors of a value."""
    found: list[Tensor] = []
    mapped(lambda tensor: found.append(tensor) or tensor, value)  # type: ignore[func-returns-value]
    return found


def items(value: Any, index: Any, batch: int) -> Any:
    """Select items of the batch; tensors that do not begin with its size are shared by all items."""
    return mapped(lambda tensor: tensor[index] if tensor.ndim and len(tensor) == batch else tensor, value)


def copied(value: Any) -> Any:
    """Detached copies of all tensors."""
    return mapped(lambda tensor: tensor.detach().clone(), value)
