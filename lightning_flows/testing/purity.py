"""Checks that a call in eval mode changes nothing: module, arguments and global generators."""

import random
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lightning_flows.testing.compare import ROUND, number, same_values
from lightning_flows.testing.faults import Found
from lightning_flows.testing.subject import Subject
from lightning_flows.testing.values import copied, tensors

OWN = frozenset(vars(nn.Module()))
"""Attributes of every module."""


@torch.no_grad()
def check_repeatable(subject: Subject) -> None:
    """The second of two calls returns the same numbers."""
    for call in subject.calls:
        module = subject.fresh()
        first, second = copied(call(module)), call(module)
        for name, one, other in zip(call.results, first, second, strict=True):
            same_values(other, one, ROUND, f"{name} of a second call of {call.name} in eval mode", "the first")


@torch.no_grad()
def check_state(subject: Subject) -> None:
    """Parameters, buffers and other values of the module stay as they are."""
    for call in subject.calls:
        module = subject.fresh()
        before = dict(state(module))
        call(module)
        after = dict(state(module))
        if added := sorted(after.keys() - before.keys()):
            raise Found(f"{call.name} in eval mode adds the attribute {added[0]}")
        for name, value in before.items():
            if change := _change(value, after.get(name)):
                raise Found(f"{call.name} in eval mode changes {name}{change}")


def state(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Copies of parameters, buffers and plain attributes below a module, by name."""
    for prefix, part in module.named_modules():
        values: dict[str, Any] = {name: value for name, value in vars(part).items() if name not in OWN}
        values |= dict(part.named_parameters(recurse=False)) | dict(part.named_buffers(recurse=False))
        values["training"] = part.training
        for name, value in values.items():
            full = f"{prefix}.{name}" if prefix else name
            if isinstance(value, Tensor):
                yield full, value.detach().clone()
            elif isinstance(value, list | dict | set):
                yield full, f"of length {len(value)}"
            elif value is None or isinstance(value, bool | int | float | str):
                yield full, value


def _change(before: Any, after: Any) -> str:
    if isinstance(before, Tensor) and isinstance(after, Tensor) and before.shape == after.shape:
        different = ~((before == after) | ((before != before) & (after != after)))  # NaN differs from itself
        return f" by up to {number((after - before)[different].double().abs().max())}" if different.any() else ""
    if isinstance(before, Tensor) or isinstance(after, Tensor):
        return " to a value of another type or shape"
    return "" if before == after else f" from {before} to {after}"


@torch.no_grad()
def check_arguments(subject: Subject) -> None:
    """Arguments are not changed in place."""
    for call in subject.calls:
        own = call._replace(arguments=copied(call.arguments))
        own(subject.fresh())
        for now, before in zip(tensors(own.arguments), tensors(call.arguments), strict=True):
            if now.is_floating_point() and now.ndim:
                same_values(now, before, 0.0, f"an argument of {call.name}, after the call,", "itself before")


@torch.no_grad()
def check_random(subject: Subject) -> None:
    """Global generators of torch, Python and NumPy are not used."""
    for call in subject.calls:
        module = subject.fresh()
        before = _generators()
        call(module)
        used = [name for name, value in _generators().items() if value != before[name]]
        if used:
            raise Found(f"{call.name} in eval mode draws random numbers from the global generator of {used[0]}")


def _generators() -> dict[str, Any]:
    states: dict[str, Any] = {"torch": torch.get_rng_state().numpy().tobytes(), "Python": random.getstate()}
    if "numpy" in sys.modules:
        kind, keys, *rest = sys.modules["numpy"].random.get_state()
        states["NumPy"] = (kind, keys.tobytes(), *rest)
    return states
