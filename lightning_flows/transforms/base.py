"""The contract of every bijection: data → latent, with the log-determinant of its Jacobian."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from lightning_flows.errors import InputTypeError, ShapeError


class Transform(nn.Module, ABC):
    r"""An invertible map :math:`z = f(x)` with its log-determinant.

    ``forward(x) -> (z, log_det)`` with :math:`\text{log\_det} = \log|\det \partial z/\partial x|`, and
    ``inverse(z) -> (x, log_det)`` with the log-determinant of the inverse map, that is minus the forward one at the
    same point.

    Shapes: x, z ``(B, *event)``, floating; log_det ``(B,)`` in nats, x's dtype, storage of its own.
    In eval mode both are pure: they change no buffer and give the same numbers when called twice.
    """

    @abstractmethod
    def forward(self, x: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        """Map data to latent."""

    @abstractmethod
    def inverse(self, z: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        """Map latent to data."""

    def output_shape(self, event_shape: Sequence[int]) -> tuple[int, ...]:
        """Shape of one event of z, given that of x."""
        return tuple(event_shape)


_log_det_wanted = ContextVar("_log_det_wanted", default=True)  # local to the thread or task


@contextmanager
def without_log_det() -> Iterator[None]:
    """Tell transforms that the log-determinants of inverses are thrown away: a costly one may return zeros instead."""
    before = _log_det_wanted.set(False)
    try:
        yield
    finally:
        _log_det_wanted.reset(before)


def log_det_wanted() -> bool:
    """Whether the log-determinant of an inverse is of use to the caller."""
    return _log_det_wanted.get()


def check_input(x: Tensor, channels: int, *, ndim: int = 4) -> None:
    """Raise TypeError for integers and ShapeError unless x is ``(B, channels, …)`` with ``ndim`` dimensions."""
    check_floating(x)
    if x.ndim != ndim or x.shape[1] != channels:
        layout = ("B", str(channels), "H", "W")[:ndim]
        raise ShapeError(f"expected shape ({', '.join(layout)}); got {tuple(x.shape)}")


def check_floating(x: Tensor) -> None:
    """Raise TypeError for integers."""
    if not x.is_floating_point():
        raise InputTypeError(f"expected a floating tensor; got {x.dtype}: convert or dequantize it first")


def check_dtype(x: Tensor, parameter: Tensor) -> None:
    """Raise TypeError unless x has the dtype of the flow, and that dtype is precise enough to invert it."""
    check_floating(x)
    if parameter.dtype not in (torch.float32, torch.float64):
        raise InputTypeError(
            f"expected a flow in float32 or float64; got {parameter.dtype}, which has no inverse: use autocast for "
            "less precision, such as --trainer.precision=bf16-mixed"
        )
    if x.dtype != parameter.dtype:
        raise InputTypeError(
            f"expected {parameter.dtype}, the dtype of the flow; got {x.dtype}: convert one to the other"
        )


def zero_log_det(x: Tensor) -> Tensor:
    """Zeros ``(B,)`` of x's dtype and device: the log-determinant of a map that keeps volume."""
    return torch.zeros(x.shape[0], dtype=x.dtype, device=x.device)


def sum_event(x: Tensor) -> Tensor:
    """Sum over all dimensions but the batch: ``(B, *event) -> (B,)``."""
    return x.flatten(1).sum(1)
