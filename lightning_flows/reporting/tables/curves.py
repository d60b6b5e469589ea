r"""Validation curves of the rows of a table, by step and by training time.

A row is a group of runs that differ only in their seeds. Its curve is :math:`v(s)`, the mean over seeds of the
validation loss after s steps, linear between the validations that all seeds have. Its time is
:math:`t = s\,c` with c the measured seconds per step: CPU time of all cores, the mean over the run, or wall time where
that is not recorded, as on a GPU. Evaluation, data loading and monitoring are left out.
"""

import math
import statistics
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lightning_flows.reporting.tables.runs import Run
from lightning_flows.reporting.tables.table import NONE
from lightning_flows.reporting.tables.timing import STEP

LAST = 0.1
"""Share of training over which the change of the validation loss is measured."""
Points = Sequence[tuple[float, float]]


class RowCurve(NamedTuple):
    """Curve of a row: validations (step, mean loss), the lowest and the highest over seeds, and seconds per step."""

    by_step: list[tuple[float, float]]
    low: list[float]
    high: list[float]
    step_seconds: float | None

    @property
    def end(self) -> float:
        """Number of steps at the last validation."""
        return self.by_step[-1][0]

    @property
    def by_time(self) -> list[tuple[float, float]]:
        """Validations (seconds, mean loss); empty if the time per step is not known."""
        return [] if self.step_seconds is None else [(step * self.step_seconds, value) for step, value in self.by_step]


def row_curves(rows: Mapping[str, Sequence[Run]], unit: str = "bpd") -> dict[str, RowCurve]:
    """Curves of the rows that have one; their times are those of :func:`runs that were timed alike <alike>`."""
    curves = {name: curve for name, runs in rows.items() if (curve := row_curve(runs, unit))}
    seconds = STEP.of(rows)
    return {name: curve._replace(step_seconds=_middle(seconds[name])) for name, curve in curves.items()}


def row_curve(runs: Sequence[Run], unit: str = "bpd") -> RowCurve | None:
    """Curve of runs over their common validations; None if there are none."""
    curves = [dict(validations(run, unit)) for run in runs]
    steps = sorted(set.intersection(*map(set, curves))) if curves else []
    if not steps:
        return None
    values = [[curve[step] for curve in curves] for step in steps]
    means = [(step, statistics.fmean(each)) for step, each in zip(steps, values, strict=True)]
    middle = _middle(STEP.of({"": runs})[""])
    return RowCurve(means, [min(each) for each in values], [max(each) for each in values], middle)


def _middle(seconds: Sequence[float]) -> float | None:
    return statistics.median(seconds) if seconds else None


def logged_values(run: Run, unit: str = "bpd", stage: str = "val") -> list[tuple[float, float]]:
    """Finite logged values of a run, by the number of steps taken: Lightning logs the index of the last one."""
    return [(step + 1, value) for step, value in run.curve(f"{stage}/{unit}") if math.isfinite(value)]


def validations(run: Run, unit: str = "bpd") -> list[tuple[float, float]]:
    """Validation losses by the number of steps taken.

    There are none if they end before the step of the tested best checkpoint, or with a value that is not finite.
    """
    curve = run.curve(f"val/{unit}")
    return logged_values(run, unit) if is_whole(run, unit) and math.isfinite(curve[-1][1]) else []


def is_whole(run: Run, unit: str = "bpd") -> bool:
    """Whether the validation curve of a run reaches the step of the tested best checkpoint."""
    curve = run.curve(f"val/{unit}")
    end = run.test.get("global_step", 0) if run.test.get("checkpoint") == "best.ckpt" else 0
    return bool(curve) and curve[-1][0] + 1 >= end


def value_at(points: Points, x: float) -> float | None:
    """Linear interpolation between points of increasing x; None outside of them, up to round-off.

    >>> value_at([(0, 1.0), (10, 3.0)], 5), value_at([(0, 1.0), (10, 3.0)], 11)
    (2.0, None)
    """
    if not points or not (points[0][0] <= x <= points[-1][0] * (1 + 1e-9)):
        return None
    i = min(max(1, bisect_left([point[0] for point in points], x)), len(points) - 1)
    if i < 1:
        return points[0][1]
    (x0, y0), (x1, y1) = points[i - 1], points[i]
    return y0 + (y1 - y0) * min(1.0, (x - x0) / (x1 - x0))


class Crossing(NamedTuple):
    """Whether a curve ends below another one, and since which x; None for all of the range that they share."""

    below: bool
    since: float | None

    def text(self, unit: str) -> str:
        """Words for a table.

        >>> Crossing(True, 1500.4).text("step {:.0f}"), Crossing(False, None).text("step {:.0f}")
        ('below from step 1500', 'never below')
        """
        if self.since is None:
            return "always below" if self.below else "never below"
        return f"{'below' if self.below else 'above'} from {unit.format(self.since)}"


def crossing(points: Points, first: Points) -> Crossing | None:
    r"""The last crossing of two piecewise linear curves: the last x with :math:`v(x) = v_1(x)` and a change of sign.

    None if they share no range.
    """
    places = sorted({x for x, _ in (*points, *first)})
    both = [(x, a - b) for x in places if None not in (a := value_at(points, x), b := value_at(first, x))]
    if not both:
        return None
    below = both[-1][1] < 0
    for (x0, d0), (x1, d1) in zip(both[-2::-1], both[:0:-1], strict=True):
        if d0 and (d0 < 0) != below:
            return Crossing(below, x0 + (x1 - x0) * d0 / (d0 - d1))
    return Crossing(below, None)


def last_improvement(curve: RowCurve) -> float | None:
    r""":math:`v(0.9\,S) - v(S)`, how much the last tenth of S steps improved validation; negative if it got worse."""
    before = value_at(curve.by_step, (1 - LAST) * curve.end)
    return None if before is None else before - curve.by_step[-1][1]


def train_gap(runs: Sequence[Run], unit: str = "bpd") -> float | None:
    r"""Train − validation loss at the end, the mean over seeds; negative when the training images are fitted better.

    The training loss is the mean of what was logged in the last tenth of the steps: of augmented images, in training
    mode, each batch before the update from it.
    """
    gaps = []
    for run in runs:
        val, train = validations(run, unit), logged_values(run, unit, "train")
        if val and (late := [value for step, value in train if step > (1 - LAST) * val[-1][0]]):
            gaps.append(statistics.fmean(late) - val[-1][1])
    return statistics.fmean(gaps) if gaps else None


def best_step(runs: Sequence[Run], unit: str = "bpd") -> float | None:
    """Number of steps at the lowest validation loss, that of the best checkpoint: the median over seeds."""
    best = [min(curve, key=lambda point: point[1])[0] for run in runs if (curve := validations(run, unit))]
    return statistics.median(best) if best else None


def equal_time(curves: Sequence[RowCurve]) -> float | None:
    """Seconds of training of the row with the shortest training time; None if no row's time is known."""
    return min((curve.by_time[-1][0] for curve in curves if curve.by_time), default=None)


def curve_columns(groups: Mapping[str, Sequence[Run]], unit: str = "bpd") -> tuple[list[str], list[list[str]]]:
    """Header and cells of the columns on curves, a row per group; a dash where something was not logged.

    Columns: validation loss at equal training time, see :func:`equal_time`; the last crossing with the curve of the
    first row, by step and by time; :func:`last_improvement`; :func:`train_gap`;
    :func:`best_step`.

    Args:
        groups: runs of each row, by its name.
        unit: unit of the losses, as in the names of the logged curves.
    """
    curves = row_curves(groups, unit)
    time = equal_time(list(curves.values()))
    header = [
        f"val {unit} at {duration(time)}" if time is not None else f"val {unit} at equal time",
        "against the first row, by step", "by time", "last tenth of training", f"train − val {unit}", "best step",
    ]  # fmt: skip
    first = curves.get(next(iter(groups), ""))
    cells = []
    for i, (name, runs) in enumerate(groups.items()):
        curve = curves.get(name)
        at_time = value_at(curve.by_time, time) if curve and time is not None else None
        by_step = crossing(curve.by_step, first.by_step) if i and curve and first else None
        by_time = crossing(curve.by_time, first.by_time) if i and curve and first else None
        improvement, best = last_improvement(curve) if curve else None, best_step(runs, unit)
        cells.append([
            _number(at_time), by_step.text("step {:.0f}") if by_step else NONE,
            by_time.text("{:.0f} s") if by_time else NONE,
            NONE if improvement is None else f"{-improvement:+.4f}".replace("-", "−"),
            _number(train_gap(runs, unit), sign=True), NONE if best is None else f"{best:.0f}",
        ])  # fmt: skip
    return header, cells


def duration(seconds: float) -> str:
    """Seconds as text.

    >>> duration(210.4), duration(5400)
    ('210 s', '90 min')
    """
    return f"{seconds:.0f} s" if seconds < 3600 else f"{seconds / 60:.0f} min"


def _number(value: float | None, *, sign: bool = False) -> str:
    return NONE if value is None else f"{value:{'+' if sign else ''}.3f}".replace("-", "−")
