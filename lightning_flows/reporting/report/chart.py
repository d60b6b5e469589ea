"""Layout of line charts; the template of the page draws them in its colors."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from lightning_flows.reporting.tables.scalars import LARGEST

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 460, 270, 62, 10, 12, 38
MAX_POINTS, MAX_MARKS = 200, 40
NUM_COLORS = 8
Points = Sequence[tuple[float, float]]


class Curve(NamedTuple):
    """A curve: name, points (step or time, value), number of its color, and whether it is noisy."""

    name: str
    points: Points
    color: int = 0
    thin: bool = False


class Line(NamedTuple):
    """A drawn curve: CSS classes, path, and marks (x, y, text) that show their values as tooltips."""

    style: str
    path: str
    marks: list[tuple[float, float, str]]


class Chart(NamedTuple):
    """A drawn chart: ticks as positions and labels, lines, class and name of each color, and a text alternative."""

    title: str
    y_label: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    lines: list[Line]
    legend: list[tuple[str, str]]
    description: str
    width: int = WIDTH
    x_label: str = "step"
    height: int = HEIGHT
    frame: tuple[int, int, int, int] = (LEFT, TOP, WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM)


def line_chart(
    curves: Sequence[Curve], *, title: str, y_label: str, legend: Sequence[str], x_label: str = "step"
) -> Chart | None:
    """Lay out a chart of curves by step, or what ``x_label`` names; None if no value is finite.

    Noisy curves are averaged over bins down to 200 points. Values far above the bulk, such as at the start of training,
    extend beyond the top of the frame.
    """
    curves = [curve._replace(points=[p for p in curve.points if all(abs(v) < LARGEST for v in p)]) for curve in curves]
    curves = [curve for curve in curves if curve.points]
    points = [point for curve in curves for point in thin_out(curve.points)]
    if not points:
        return None
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    if first == last:  # a single point is in the middle of an axis that does not begin below 0
        first, last = (first / 2, 1.5 * first) if first > 0 else (first, first + 1.0)
    margin = max(0.02 * (last - first), 1e-6 * last)  # not zero, nor lost in rounding
    left, right = first - margin, last + margin
    low, high = _limits([y for _, y in points])

    def x_of(step: float) -> float:
        return round(LEFT + (step - left) / (right - left) * (WIDTH - LEFT - RIGHT), 1)

    def y_of(value: float) -> float:
        return round(TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    def draw(curve: Curve) -> Line:
        path = "L".join(f"{x_of(x):g} {y_of(y):g}" for x, y in thin_out(curve.points))
        shown = [(x, y) for x, y in thin_out(curve.points, MAX_MARKS) if low <= y <= high]
        marks = [(x_of(x), y_of(y), f"{curve.name}, {x_label} {x:.0f}: {y:.4g}") for x, y in shown]
        few = " few" if len(curve.points) <= 12 else ""  # few enough to show each point
        return Line(f"{color_class(curve.color)}{' thin' if curve.thin else ''}{few}", f"M{path}", marks)

    return Chart(
        title, y_label,
        [(x_of(x), f"{x:g}") for x in ticks(left, right)], [(y_of(y), f"{y:g}") for y in ticks(low, high)],
        [draw(curve) for curve in curves],
        [(color_class(i), name) for i, name in enumerate(legend)],
        " ".join(_describe(curve, x_label) for curve in curves),
        x_label=x_label,
    )  # fmt: skip


def color_class(number: int) -> str:
    """CSS classes of a color; once the colors of the page are used up, lines are dashed."""
    return f"c{number % NUM_COLORS}{' dashed' if number >= NUM_COLORS else ''}"


def thin_out(points: Points, most: int = MAX_POINTS) -> list[tuple[float, float]]:
    """Average over equal bins of neighbors, so that at most ``most`` points remain.

    >>> thin_out([(0, 1.0), (1, 3.0), (2, 5.0), (3, 5.0)], most=2)
    [(0.5, 2.0), (2.5, 5.0)]
    """
    size = math.ceil(len(points) / most) or 1
    bins = [points[i : i + size] for i in range(0, len(points), size)]
    return [(sum(x for x, _ in b) / len(b), sum(y for _, y in b) / len(b)) for b in bins] if size > 1 else list(points)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers within an interval.

    >>> ticks(0.3, 4.1), ticks(-20, 1020)
    ([1.0, 2.0, 3.0, 4.0], [0.0, 250.0, 500.0, 750.0, 1000.0])
    """
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next((factor * power for factor in (1, 2, 2.5, 5) if (high - low) / (factor * power) <= most), 10 * power)
    return [step * i for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Range that shows the bulk of the values: at most twice as high as their 95 % quantile."""
    ordered = sorted(values)
    low, bulk = ordered[0], ordered[int(0.95 * (len(ordered) - 1))]
    high = min(ordered[-1], low + 2 * (bulk - low)) if bulk > low else ordered[-1]
    margin = max(0.05 * (high - low), 1e-3 * max(abs(low), abs(high)), 1e-12)  # a constant needs a range as well
    return low - margin, high + margin


def _describe(curve: Curve, x_label: str) -> str:
    (first, start), (last, end) = curve.points[0], curve.points[-1]
    lowest = min(value for _, value in curve.points)
    return (
        f"{curve.name}: {start:.4g} at {x_label} {first:.0f}, {end:.4g} at {x_label} {last:.0f}, lowest {lowest:.4g}."
    )
