"""Checks that results depend on the values of the input alone: not on its layout, its batch or its flags."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from lightning_flows.functional.nested_tensors import mapped
from lightning_flows.testing.compare import same_values
from lightning_flows.testing.faults import Found, raised
from lightning_flows.testing.state import difference
from lightning_flows.testing.subject import Call, Subject
from lightning_flows.testing.values import copied, tensors

LARGE, MAX_TOTAL = 130, 1 << 17
"""Items of a large batch, and values in it."""


@torch.no_grad()
def check_independence(subject: Subject, tolerance: float) -> None:
    """Items of a batch do not affect each other: one alone, and all in reverse order, have the same results."""
    for call in subject.calls:
        whole, last = call(subject.fresh()), call.batch - 1
        alone = call.of(slice(last, None))(subject.fresh())
        for name, one, other in zip(call.results, alone, whole, strict=True):
            same_values(one, other[last:], tolerance, f"{name} of {call.name} of an item alone", "the one in a batch")
        reverse = torch.arange(last, -1, -1)
        turned = call.of(reverse)(subject.fresh())
        for name, one, other in zip(call.results, turned, whole, strict=True):
            what = f"{name} of {call.name} of a batch in reverse order"
            same_values(one, other[reverse], tolerance, what, "that in order")


@torch.no_grad()
def check_batch_sizes(subject: Subject, tolerance: float) -> None:
    """A large batch has the results of its items, and an empty one empty results or an error."""
    for call in subject.calls:
        expected, values = call(subject.fresh()), call.arguments[0][0].numel()
        index = torch.arange(max(2 * call.batch, min(LARGE, MAX_TOTAL // values))) % call.batch
        large = _called(call.of(index), subject, f"of {len(index)} items")
        for name, one, other in zip(call.results, large, expected, strict=True):
            same_values(one, other[index], tolerance, f"{name} of {call.name} of {len(index)} items", "those of each")
        try:
            empty = call.of(slice(0, 0))(subject.fresh())
        except Exception:  # an error is no wrong result
            continue
        for name, one, other in zip(call.results, empty, expected, strict=True):
            same_values(one, other[:0], tolerance, f"{name} of {call.name} of an empty batch", "an empty result")


def check_layouts(subject: Subject, tolerance: float) -> None:
    """Arguments with gaps, in another order of axes, expanded or with gradients: same results, no change in place."""
    for call in subject.calls:
        with torch.no_grad():
            expected = call(subject.fresh())
        for name in LAYOUTS:
            own = call._replace(arguments=mapped(partial(_laid, name, call.batch), call.arguments))
            before = copied(tensors(own.arguments))
            found = _called(own, subject, f"of {name}", grad=name == GRADIENTS)
            for result, one, other in zip(call.results, found, expected, strict=True):
                wanted = other[:1].expand_as(other) if name == EXPANDED else other
                what = f"{result} of {call.name} of {name}"
                same_values(one.detach(), wanted, tolerance, what, "that of a contiguous one")
            if difference(dict(enumerate(before)), dict(enumerate(tensors(own.arguments)))):
                raise Found(f"{call.name} changes {name} in place")


def _laid(name: str, batch: int, value: Tensor) -> Tensor:
    """A tensor of the batch in another layout; others stay as they are, and gradients are of floating-point ones."""
    if not value.ndim or len(value) != batch or (name == GRADIENTS and not value.is_floating_point()):
        return value
    return LAYOUTS[name](value)


def _called(call: Call, subject: Subject, what: str, *, grad: bool = False) -> tuple[Tensor, ...]:
    try:
        with torch.set_grad_enabled(grad):
            return call(subject.fresh())
    except Found:
        raise
    except Exception as error:
        raise Found(f"{call.name} {what} {raised(error)}") from error


def gaps(value: Tensor) -> Tensor:
    """Each second value of a larger tensor, whose first value is not the first in memory."""
    space = value.new_full((*value.shape, 2), torch.nan if value.is_floating_point() else 0)
    return space[..., 1].copy_(value)


def transposed(value: Tensor) -> Tensor:
    """The first axis last in memory."""
    return value.movedim(0, -1).contiguous().movedim(-1, 0)


def channels_last(value: Tensor) -> Tensor:
    """The second axis last in memory, as PyTorch's channels_last formats for images and volumes."""
    return value.movedim(1, -1).contiguous().movedim(-1, 1) if value.ndim > 2 else transposed(value)


def expanded(value: Tensor) -> Tensor:
    """The first item in place of each."""
    return value[:1].clone().expand_as(value)


def with_gradients(value: Tensor) -> Tensor:
    """The same values, as an intermediate result of autograd."""
    return value.clone().requires_grad_() * 1.0


EXPANDED, GRADIENTS = "an expanded input", "an input that requires gradients"
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "an input with gaps in memory": gaps,
    "a transposed input": transposed,
    "an input in channels_last format": channels_last,
    EXPANDED: expanded,
    GRADIENTS: with_gradients,
}
"""Inputs of equal values."""
