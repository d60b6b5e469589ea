"""The summands of a log-density, for whoever watches training."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

_parts: dict[str, Tensor] | None = None


@contextmanager
def noted_parts() -> Iterator[dict[str, Tensor]]:
    r"""Collect the summands ``(B,)``, in nats and without a graph, of the last log-density that is computed inside.

    .. math:: \log p(z) + \log|\det J| - \log q(u \mid x)

    ``latents`` is the first, with the priors of all levels, ``log_det`` the second and ``dequantization`` the third.
    Costs nothing outside of it.
    """
    global _parts
    before, _parts = _parts, {}
    try:
        yield _parts
    finally:
        _parts = before


def note_part(name: str, value: Tensor) -> None:
    """Hand a summand to :func:`noted_parts`, if anybody asks."""
    if _parts is not None:
        _parts[name] = value.detach()
