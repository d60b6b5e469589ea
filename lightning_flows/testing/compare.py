"""Comparisons whose messages say what is wrong, where and by how much."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_flows.testing.faults import Found

ROUND = 1e-12
"""Largest relative difference of equal computations: memory layouts may change the order of sums."""

SINGLE = 1e-5
"""Largest relative error that round-off of float32 may explain."""


def number(value: float | Tensor) -> str:
    """A number in a message.

    >>> number(1.23456), number(2.0), number(1e-9)
    ('1.235', '2.0', '1e-09')
    """
    text = f"{float(value):.4g}"
    return text if any(c in text for c in ".en") else f"{text}.0"


def pair(found: float | Tensor, expected: float | Tensor) -> str:
    """Two numbers in a message, with enough digits to show that they differ.

    >>> pair(1.5, 2.0), pair(1.0000012, 1.0)
    ('1.5 instead of 2.0', '1.0000012 instead of 1.0')
    """
    texts = number(found), number(expected)
    if texts[0] == texts[1] and float(found) != float(expected):
        texts = repr(float(found)), repr(float(expected))
    return f"{texts[0]} instead of {texts[1]}"


def wrong(found: Tensor, expected: Tensor, tolerance: float) -> Tensor:
    """Where two tensors differ: |found − expected| > tolerance · (1 + |expected|), or NaN in one of them."""
    same = (found == expected) | (found.isnan() & expected.isnan())
    return ~(((found - expected).abs() <= tolerance * (1 + expected.abs())) | same)


def same_values(found: Tensor, expected: Tensor, tolerance: float, what: str, other: str) -> None:
    """Raise Found if values ``(B, *event)`` differ: in how many items, and where most."""
    if found.shape != expected.shape:
        raise Found(f"{what} has shape {tuple(found.shape)} instead of {tuple(expected.shape)}, that of {other}")
    where = wrong(found, expected, tolerance)
    if not where.any():
        return
    error = torch.where(where, (found - expected).abs(), 0).nan_to_num(math.inf, math.inf)
    place = error.flatten().argmax()
    items = where.reshape(len(where), -1).any(1)
    position = tuple(int(i) for i in torch.unravel_index(place, error.shape))
    hint = _hint(float(error.max()), tolerance, float(expected.abs().max()))
    count = "" if len(items) == 1 else f" in {int(items.sum())} of {len(items)} items"
    raise Found(
        f"{what} differs from {other} by up to {number(error.max())}{count}: "
        f"{pair(found.flatten()[place], expected.flatten()[place])} at {position}{hint}"
    )


def same_log_dets(found: Tensor, expected: Tensor, tolerance: float, what: str, event: Sequence[int]) -> None:
    """Raise Found if log-determinants ``(B,)`` differ from those of Jacobians: by a factor, an offset, or otherwise.

    ``event`` is the shape of the data, which may explain a factor.
    """
    if not wrong(found, expected, tolerance).any():
        return
    worst = (found - expected).abs().nan_to_num(math.inf).argmax()
    numbers = pair(found[worst], expected[worst])
    hint = _hint(float((found - expected).abs().max()), tolerance, float(expected.abs().max()))
    raise Found(f"{what} {_relation(found, expected, 100 * tolerance, event)}: {numbers}{_at(worst, found)}{hint}")


def _hint(error: float, tolerance: float, size: float) -> str:
    """What to do about an error that a computation in float32 may have; none for checks of equal computations."""
    if not ROUND < tolerance < SINGLE or not error <= SINGLE * (1 + size):
        return ""
    return f"; as small as round-off of float32: compute in the input's dtype, or pass tolerance={SINGLE:g}"


def _at(item: Tensor, values: Tensor) -> str:
    return f" (item {int(item)})" if len(values) > 1 else ""


def _relation(found: Tensor, expected: Tensor, tolerance: float, event: Sequence[int]) -> str:
    """How log-determinants are related to the correct ones."""

    def same(values: Tensor) -> bool:
        return not wrong(found, values, tolerance).any()

    if not found.isfinite().all():
        return "is not finite"
    error = float((found - expected).abs().max())
    differs = f"differs from the Jacobian's by up to {number(error)}"
    if error <= 1e-3:
        return differs
    if same(-expected):
        return "has the wrong sign"
    if expected.abs().max() > tolerance and not found.any():
        return "is 0"
    ratio = float((found @ expected) / (expected @ expected)) if expected.any() else math.nan
    if math.isfinite(ratio) and same(ratio * expected):
        return f"is {number(ratio)} times the Jacobian's{_reason(ratio, event)}"
    if len(found) > 1:
        for shift in range(1, len(found)):
            if same(expected.roll(shift)):
                return "is that of another item of the batch"
        if same(expected.flip(0)):
            return "is that of another item of the batch"
        for name, value in (("sum", expected.sum()), ("mean", expected.mean())):
            if same(value.expand_as(expected)):
                return f"is the {name} over the batch"
        offset = (found - expected).mean()
        if same(expected + offset):
            return f"is the Jacobian's {'+' if offset > 0 else '−'} {number(offset.abs())}"
    return differs


def _reason(ratio: float, event: Sequence[int]) -> str:
    """Where a factor may come from: positions or channels that were not counted, or a mean instead of a sum."""
    sizes = {"values": math.prod(event), "positions": math.prod(event[1:]), "channels": event[0]}
    for name, size in sizes.items():
        if size > 1 and math.isclose(abs(ratio) * size, 1, rel_tol=1e-5):
            return f", 1 over the number of {name} ({size})"
    return ""
