"""Random signs with which traces are estimated in evaluation."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from lightning_flows.functional.philox import streams

ITEMS: ContextVar[Tensor | None] = ContextVar("ITEMS", default=None)
"""Numbers of the items whose traces are estimated; None if they share their probes."""


@contextmanager
def probes_by_item(numbers: Sequence[int] | Tensor) -> Iterator[None]:
    r"""Context manager in which each item has its own probes, determined by its number.

    A trace is estimated as :math:`\operatorname{tr} J_b \approx v_b^\top J_b v_b` for each item b. Estimates of items
    that share their probes have similar errors, which remain in the mean over items. If each item has its own, these
    errors are independent, and the standard error of the mean includes them. An estimate depends on the number of its
    item, not on batches or devices.

    Args:
        numbers: number of each item ``(B,)``, such as its index in the data.

    >>> with probes_by_item([3, 7]):
    ...     first, second = fixed_probes(torch.zeros(2, 16), 1)[0]
    >>> with probes_by_item([7]):
    ...     again = fixed_probes(torch.zeros(1, 16), 1)[0]
    >>> torch.equal(first, second), torch.equal(second, again[0])
    (False, True)
    """
    token = ITEMS.set(torch.as_tensor(numbers))
    try:
        yield
    finally:
        ITEMS.reset(token)


@torch.compiler.disable
def fixed_probes(x: Tensor, num: int, seed: int = 0) -> list[Tensor]:
    r"""Return ``num`` probes v of random signs for each item of x; see :func:`probes_by_item`.

    .. math:: P(v_i = 1) = P(v_i = -1) = \tfrac12, \quad \mathbb E[v v^\top] = I

    They are functions of ``seed``, their position and the number of the item, the same on any device. By default, all
    items have the probes of item 0, and so they do if B is not the number of items in the scope, such as in a layer
    that treats each pixel or node as an item.

    Shapes: x and each probe ``(B, *event)``.

    >>> fixed_probes(torch.zeros(2, 3), 4)[0].abs()
    tensor([[1., 1., 1.],
            [1., 1., 1.]])
    """
    items = ITEMS.get()
    if items is None or len(items) != len(x):
        items = torch.zeros(1, dtype=torch.int64)
    source = streams(seed, "probes", items, device=x.device)
    draws = [source._replace(draws=torch.full_like(source.numbers, number)) for number in range(num)]
    return [(2 * (each.uniform(x.shape[1:], x.dtype) < 0.5) - 1).to(x.dtype).expand_as(x) for each in draws]
