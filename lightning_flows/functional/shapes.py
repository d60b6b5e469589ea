"""Shapes of events."""

from collections.abc import Sequence
from numbers import Integral

from torch import Tensor

from lightning_flows.errors import ShapeError


def check_shape(event_shape: Sequence[int | None]) -> None:
    """Raise ShapeError unless each size of an event is an integer of at least 1, or None for any length.

    >>> check_shape((3, None, None))
    >>> check_shape((3, 0, 8))
    Traceback (most recent call last):
        ...
    lightning_flows.errors.ShapeError: expected sizes of at least 1; got (3, 0, 8)
    """
    if any(n is not None and (not isinstance(n, Integral) or n < 1) for n in event_shape):
        raise ShapeError(f"expected sizes of at least 1; got {tuple(event_shape)}")


def image_shape(event_shape: Sequence[int]) -> tuple[int, int, int]:
    """Return (C, H, W). Raises: ShapeError for other events.

    >>> image_shape([3, 32, 32])
    (3, 32, 32)
    >>> image_shape((3072,))
    Traceback (most recent call last):
        ...
    lightning_flows.errors.ShapeError: expected events (C, H, W); got (3072,)
    """
    if len(event_shape) != 3:
        raise ShapeError(f"expected events (C, H, W); got {tuple(event_shape)}")
    check_shape(event_shape)
    channels, height, width = event_shape
    return channels, height, width


def parameters_first(values: Tensor, y: Tensor, dim: int) -> Tensor:
    """Parameters ``(P, ...)`` that broadcast with y ``(...)``, of those with P along ``dim``.

    >>> import torch
    >>> parameters_first(torch.ones(3, 5), torch.ones(2, 3), -1).shape
    torch.Size([5, 1, 3])
    """
    values = values.movedim(dim, 0)
    return values.reshape(values.shape[0], *[1] * (y.ndim - values.ndim + 1), *values.shape[1:])
