"""Validation curves of the rows of a table, by step and by training time."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lightning_flows.reporting.figures.style import line
from lightning_flows.reporting.tables.curves import Points, RowCurve, crossing, value_at

EARLY = 0.25
"""The top of the range is the highest curve after this share of its training."""
MARGIN = 0.06
"""Space above and below, relative to the range."""
MINUTES, HOURS = 600.0, 36_000.0
"""Times from which the axis is in minutes, or hours."""


def curves_figure(
    curves: Mapping[str, RowCurve], baselines: Mapping[str, str], *, unit: str = "bpd", title: str = ""
) -> Figure:
    """Panels of the validation loss by step and, unless no row's time is known, by training time.

    A line is the mean over the seeds of a row, the band around it spans the seeds, and a circle marks the last crossing
    with the curve of its baseline. The vertical range shows the last three quarters of training.

    Args:
        curves: curves of rows by name, at least one.
        baselines: name of the row that each row is compared with. No circle marks a row that is its own baseline, or
            whose baseline has no curve.
        unit: unit of the losses.
        title: title of the figure.
    """
    labels = [f"{row}: {curve.by_step[-1][1]:.3f}" for row, curve in curves.items()]
    figure = Figure(figsize=(10.4, 4.4 + 0.12 * len(labels)), layout="constrained")
    is_timed = any(curve.by_time for curve in curves.values())
    left, *others = figure.subplots(1, 2 if is_timed else 1, sharey=True, squeeze=False)[0]
    longest = max((curve.by_time[-1][0] for curve in curves.values() if curve.by_time), default=0.0)
    scale, name = _time_unit(longest)
    entries = []
    for i, (row, curve) in enumerate(curves.items()):
        other = curves.get(baselines[row]) if baselines[row] != row else None
        entries.append(_draw(left, i, curve.by_step, curve, other.by_step if other else None))
        for right in others:
            _draw(right, i, _scaled(curve.by_time, scale), curve, _scaled(other.by_time, scale) if other else None)
    left.set(xlabel="training steps", ylabel=f"validation {unit}", xlim=(0, None), ylim=limits(list(curves.values())))
    for right in others:
        right.set(xlabel=f"training time without evaluation ({name})", xlim=(0, None))
    for axes in (left, *others):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    for columns in (4, 3, 2, 1):
        legend = figure.legend(entries, labels, loc="outside lower center", ncols=columns, frameon=False)
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            break
        legend.remove()
    if title:
        figure.suptitle(title, fontsize="medium")
    return figure


def limits(curves: Sequence[RowCurve]) -> tuple[float, float]:
    """Range of losses: from the lowest of all seeds to the highest mean after a quarter of its training."""
    low = min(min(curve.low) for curve in curves)
    early = [_after(curve, EARLY * curve.end) for curve in curves]
    high = max(early)
    margin = MARGIN * (high - low) or 0.01 * max(abs(low), 1e-3)
    return low - margin, high + margin


def _after(curve: RowCurve, step: float) -> float:
    """Loss after a step, or at the first validation if that is later."""
    value = value_at(curve.by_step, step)
    return curve.by_step[0][1] if value is None else value


def _draw(axes: Axes, number: int, points: Points, curve: RowCurve, other: Points | None) -> Line2D:
    """Draw a row: its line, without points if its time is not known, its band, and its last crossing with the other.

    Returns the line.
    """
    style, x = line(number), [x for x, _ in points]
    (drawn,) = axes.plot(x, [y for _, y in points], linewidth=1.6, **style)
    if not points:
        return drawn
    if curve.low != curve.high:
        axes.fill_between(x, curve.low, curve.high, color=style["color"], alpha=0.18, linewidth=0)
    found = crossing(points, other) if other else None
    if found is not None and found.since is not None and (y := value_at(points, found.since)) is not None:
        axes.plot([found.since], [y], "o", color=style["color"], markersize=7, markerfacecolor="white", zorder=5)
    return drawn


def _scaled(points: Points, scale: float) -> Points:
    return [(x / scale, y) for x, y in points]


def _time_unit(longest: float) -> tuple[float, str]:
    """Seconds of the unit of an axis, and its name.

    >>> _time_unit(90), _time_unit(1200), _time_unit(1e5)
    ((1.0, 's'), (60.0, 'min'), (3600.0, 'h'))
    """
    return (1.0, "s") if longest < MINUTES else (60.0, "min") if longest < HOURS else (3600.0, "h")
