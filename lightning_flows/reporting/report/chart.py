"""Line charts as inline SVG."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 460, 270, 46, 10, 12, 38
NUM_COLORS, MAX_POINTS = 8, 200
LARGEST = 1e30
"""Values that have a place in a chart are smaller; differences and means of those are finite."""


class Line(NamedTuple):
    """A curve: its points (step, value), number of its color, and whether it is thin, for noisy curves."""

    points: Sequence[tuple[float, float]]
    color: int = 0
    thin: bool = False


def line_chart(lines: Sequence[Line], *, y_label: str, x_label: str = "step") -> Markup | None:
    """Draw curves into one SVG that uses the colors of the page; None if no point has a finite value.

    Noisy curves are averaged over bins down to 200 points. Values far above the bulk, such as at the start of training,
    extend beyond the top of the frame.
    """
    lines = [line._replace(points=thin_out([p for p in line.points if abs(p[1]) < LARGEST])) for line in lines]
    points = [point for line in lines for point in line.points]
    if not points:
        return None
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    margin = 0.02 * (last - first) or 1.0
    left, right = first - margin, last + margin
    low, high = _limits([y for _, y in points])
    x_ticks, y_ticks = _ticks(left, right), _ticks(low, high)

    def place(x: float, y: float) -> tuple[float, float]:
        across, down = (x - left) / (right - left), (high - y) / (high - low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), TOP + down * (HEIGHT - TOP - BOTTOM)

    svg = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{} by {}">').format(WIDTH, HEIGHT, y_label, x_label)
    for y in y_ticks:
        height = place(left, y)[1]
        svg += Markup('<path class="grid" d="M{} {:.1f}H{}"/>').format(LEFT, height, WIDTH - RIGHT)
        svg += _text(LEFT - 6, height + 4, f"{y:g}", "end")
    for x in x_ticks:
        svg += _text(place(x, low)[0], HEIGHT - BOTTOM + 16, f"{x:g}")
    svg += _text((LEFT + WIDTH) / 2, HEIGHT - 4, x_label)
    inside = LEFT, TOP, WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM  # an image in the image cuts off what leaves it
    svg += Markup('<svg x="{0}" y="{1}" width="{2}" height="{3}" viewBox="{0} {1} {2} {3}">').format(*inside)
    for line in lines:
        svg += _draw(line, [place(*point) for point in line.points])
    return svg + Markup("</svg></svg>")


def thin_out(points: Sequence[tuple[float, float]], most: int = MAX_POINTS) -> list[tuple[float, float]]:
    """Means over equal bins of neighbors, so that at most ``most`` points are left.

    >>> thin_out([(0, 1.0), (1, 3.0), (2, 5.0), (3, 5.0)], most=2)
    [(0.5, 2.0), (2.5, 5.0)]
    """
    size = math.ceil(len(points) / most) or 1
    bins = [points[i : i + size] for i in range(0, len(points), size)]
    return [(sum(x for x, _ in b) / len(b), sum(y for _, y in b) / len(b)) for b in bins] if size > 1 else list(points)


def _text(x: float, y: float, text: str, anchor: str = "middle") -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, text)


def _draw(line: Line, points: Sequence[tuple[float, float]]) -> Markup:
    style = f"c{line.color % NUM_COLORS}" + (" dashed" if line.color >= NUM_COLORS else "")
    style += " thin" if line.thin else ""
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    drawn = Markup('<path class="{}" d="{}"/>').format(style, path)
    if len(points) <= 12:  # few enough to be told apart
        drawn += Markup("").join(
            Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="2.5"/>').format(style, *point) for point in points
        )
    return drawn


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Range that shows the bulk; at most twice as far up as 95 % of the values reach."""
    ordered = sorted(values)
    low, bulk = ordered[0], ordered[int(0.95 * (len(ordered) - 1))]
    high = min(ordered[-1], low + 2 * (bulk - low)) if bulk > low else ordered[-1]
    margin = 0.05 * (high - low) or max(abs(low), 1.0) * 0.05
    return low - margin, high + margin


def _ticks(low: float, high: float) -> list[float]:
    ticks = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [float(tick) for tick in ticks if low <= tick <= high]
