"""Conformal p-values: outlier scores compared with those of held-out items."""

import math

import torch
from torch import Tensor

from lightning_flows.errors import NonFiniteError, UsageError


def p_values(scores: Tensor, held_out: Tensor) -> Tensor:
    r"""p-values of outlier scores, which are higher for outliers.

    .. math:: p = \frac{1 + \#\{i : s_i \geq s\}}{n + 1}

    If an item and the n held-out ones are exchangeable, then :math:`P(p \leq a) \leq a` for each a, for any score: p
    is uniform on 1/(n + 1), …, 1 without ties, and larger with them (Vovk et al., Algorithmic Learning in a Random
    World, 2005; Bates et al., Testing for Outliers with Conformal p-values, 2023).

    Shapes: scores ``(N,)`` and held_out ``(n,)``, n at least 1, to float64 ``(N,)``.
    Raises: NonFiniteError for a score of NaN; UsageError without held-out items.

    >>> p_values(torch.tensor([0.0, 2.0, 9.0]), torch.tensor([1.0, 2.0, 3.0]))
    tensor([1.0000, 0.7500, 0.2500], dtype=torch.float64)
    """
    if not len(held_out):
        raise UsageError("expected at least one held-out score; got none")
    if scores.isnan().any() or held_out.isnan().any():
        raise NonFiniteError("expected scores that are numbers; got NaN: its p-value is undefined")
    ordered = held_out.double().sort().values
    num_lower = torch.searchsorted(ordered, scores.double().contiguous())  # strictly lower: ties count as higher
    return (1 + len(ordered) - num_lower).double() / (len(ordered) + 1)


def check_rate(rate: float) -> None:
    """Raise UsageError for a false alarm rate that is not above 0 and below 1."""
    if not 0 < rate < 1:  # False for NaN
        raise UsageError(f"--false_alarm_rate {rate:g} is not allowed: use a number above 0 and below 1")


def check_attainable(rate: float, num: int) -> None:
    """Raise UsageError if no p-value from ``num`` held-out items, at least 1/(num + 1), is as low as ``rate``."""
    lowest = 1 / (num + 1)
    if lowest > rate:
        other_rate = f"choose a rate of at least {math.ceil(1000 * lowest) / 1000:g}, or " if num else ""
        raise UsageError(
            f"--false_alarm_rate {rate:g} requires at least {math.ceil(1 / rate) - 1} held-out items, and {num} are "
            f"used: {other_rate}use more of them"
        )
