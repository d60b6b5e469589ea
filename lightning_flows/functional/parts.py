"""The summands of a log-density, for whoever watches training."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

_parts: ContextVar[dict[str, Tensor] | None] = ContextVar("_parts", default=None)  # local to the thread or task


@contextmanager
def noted_parts() -> Iterator[dict[str, Tensor]]:
    r"""Collect the summands ``(B,)``, in nats and without a graph, of the last log-density that is computed inside.

    .. math:: \log p(z) + \log|\det J| - \log q(u \mid x)

    ``latents`` is the first, with the priors of all levels, ``log_det`` the second and ``dequantization`` the third.
    Costs nothing outside of it.
    """
    parts: dict[str, Tensor] = {}
    before = _parts.set(parts)
    try:
        yield parts
    finally:
        _parts.reset(before)


def note_part(name: str, value: Tensor) -> None:
    """Hand a summand to :func:`noted_parts`, if anybody asks."""
    parts = _parts.get()
    if parts is not None:
        parts[name] = value.detach()
