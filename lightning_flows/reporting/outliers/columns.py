"""The columns of scores that ``predict`` writes."""

from torch import Tensor

from lightning_flows.reporting.outliers.conformal import p_values
from lightning_flows.reporting.outliers.scores import (
    Scored,
    complexity_corrected,
    typicality,
    typicality_left_out,
)


def strangeness(items: Scored) -> Tensor:
    """The score ``(N,)`` by which items are sorted and flagged: that corrected for complexity, or else the loss."""
    return items.loss if items.png is None else complexity_corrected(items.loss, items.png)


def score_columns(items: Scored, held_out: Scored | None, false_alarm_rate: float | None = None) -> dict[str, Tensor]:
    """Scores and p-values of items by column name, each ``(N,)``.

    Without held-out items this is only ``bpd_minus_png``, for images. With them: ``typicality``; the p-values
    ``p_likelihood``, ``p_typicality`` and, for images, ``p_complexity``; and with a rate ``outlier``, int64, 1 if the
    p-value of :func:`strangeness` is at most the rate.
    """
    columns = {} if items.png is None else {"bpd_minus_png": strangeness(items)}
    if held_out is None:
        return columns
    columns["typicality"] = typicality(items.loss, held_out.loss.mean())
    columns["p_likelihood"] = p_values(items.loss, held_out.loss)
    columns["p_typicality"] = p_values(columns["typicality"], typicality_left_out(held_out.loss))
    p = columns["p_likelihood"]
    if items.png is not None:
        p = columns["p_complexity"] = p_values(strangeness(items), strangeness(held_out))
    if false_alarm_rate is not None:
        columns["outlier"] = (p <= false_alarm_rate).long()
    return columns
