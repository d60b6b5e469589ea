"""What is checked: copies of a module in eval mode, and the calls whose results are compared."""

import copy
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_flows.errors import InputTypeError, ShapeError
from lightning_flows.functional.nested_tensors import cast, mapped
from lightning_flows.testing.faults import Found
from lightning_flows.testing.values import items


class Call(NamedTuple):
    """A call of a module: a method, or ``forward`` for the module itself, its arguments and the names of its results.

    The first argument has shape ``(B, *event)``; results have the batch as their first axis.
    """

    name: str
    arguments: tuple[Any, ...]
    results: tuple[str, ...]

    def __call__(self, module: nn.Module) -> tuple[Tensor, ...]:
        """Call the module with copies of the containers of tensors, so that a change of them does not last."""
        return self.direct(module, mapped(lambda value: value, self.arguments))

    def direct(self, module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Tensor, ...]:
        """Call the module with these very arguments."""
        method = module if self.name == "forward" else getattr(module, self.name)
        found = method(*arguments)
        values = tuple(found) if isinstance(found, tuple | list) else (found,)
        if len(values) != len(self.results) or not all(isinstance(value, Tensor) for value in values):
            kinds = ", ".join(type(value).__name__ for value in values)
            expected = ", ".join(self.results)
            raise Found(f"{self.name} returns ({kinds}) instead of {'tensors' if len(values) > 1 else 'a'} {expected}")
        return values

    @property
    def event(self) -> torch.Size:
        return self.arguments[0].shape[1:]

    @property
    def batch(self) -> int:
        return len(self.arguments[0])

    def of(self, index: Any) -> "Call":
        """The same call for some items of the batch."""
        return self._replace(arguments=items(self.arguments, index, self.batch))

    def at(self, value: Tensor) -> "Call":
        """The same call with another first argument."""
        return self._replace(arguments=(value, *self.arguments[1:]))

    def to(self, dtype: torch.dtype) -> "Call":
        """The same call in another dtype."""
        return self._replace(arguments=cast(self.arguments, dtype))


class Subject(NamedTuple):
    """A module, which is never called itself, a function that builds one like it, and the calls to check."""

    module: nn.Module
    build: Callable[[], nn.Module] | None
    calls: Sequence[Call]
    outside: Mapping[str, Any] = MappingProxyType({})
    """Values of classes, closures and globals before any call."""

    def fresh(self, dtype: torch.dtype = torch.float64) -> Any:
        """A copy in a dtype, in eval mode."""
        return copy.deepcopy(self.module).to(dtype).eval()


def check_copy(module: nn.Module) -> None:
    """Raise Found if a copy shares a parameter or buffer with the module, which the checks would then change."""
    own = {id(value): name for name, value in [*module.named_parameters(), *module.named_buffers()]}
    twin = copy.deepcopy(module)
    for value in [*twin.parameters(), *twin.buffers()]:
        if id(value) in own:
            raise Found(f"a copy shares {own[id(value)]} with the original")


def check_batch(x: Any, name: str, minimum: int = 2) -> None:
    """Raise an error unless x is a finite, floating tensor of at least two items."""
    if not isinstance(x, Tensor) or not x.is_floating_point():
        got = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise InputTypeError(f"expected a floating tensor {name}; got {got}")
    if x.ndim < 2 or len(x) < minimum or not x.numel():
        raise ShapeError(f"expected {name} of shape (B, *event) with at least {minimum} items; got {tuple(x.shape)}")
    if not x.isfinite().all():
        raise ShapeError(f"expected finite values of {name}; got {int((~x.isfinite()).sum())} that are not")
