import math

import pytest

from lightning_flows.reporting.report.chart import (
    HEIGHT,
    LEFT,
    NUM_COLORS,
    RIGHT,
    TOP,
    WIDTH,
    Curve,
    color_class,
    line_chart,
    thin_out,
    ticks,
)

NAN = float("nan")


def chart(*curves: Curve):
    return line_chart(curves, title="title", y_label="bits", legend=["a"])


def coordinates(points) -> list[tuple[float, float]]:
    """Coordinates at which a curve of these points is drawn."""
    (line,) = chart(Curve("a", points)).lines
    return [tuple(map(float, pair.split())) for pair in line.path.removeprefix("M").split("L")]


def test_values_increase_upward_and_steps_to_the_right() -> None:
    (x0, y0), (x1, y1) = coordinates([(0, 5.0), (10, 3.0)])
    assert LEFT < x0 < x1 < WIDTH - RIGHT
    assert TOP < y0 < y1 < HEIGHT


def test_marks_are_on_the_curve_and_show_step_and_value() -> None:
    points = [(0, 5.0), (10, 3.25)]
    (line,) = chart(Curve("a", points)).lines
    assert [(x, y) for x, y, _ in line.marks] == coordinates(points)
    assert [text for _, _, text in line.marks] == ["a, step 0: 5", "a, step 10: 3.25"]
    assert line.style == "c0 few"
    (many,) = chart(Curve("a", [(i, 1.0) for i in range(1000)], thin=True)).lines
    assert len(many.marks) == 40
    assert many.style == "c0 thin"


def test_the_description_has_start_end_and_minimum() -> None:
    assert chart(Curve("a", [(1, 5.0), (2, 3.0), (3, 4.0)])).description == "a: 5 at step 1, 4 at step 3, lowest 3."


def test_colors_repeat_dashed() -> None:
    classes = [color_class(i) for i in range(2 * NUM_COLORS)]
    assert len(set(classes)) == 2 * NUM_COLORS
    assert classes[NUM_COLORS] == "c0 dashed"


def test_non_finite_values_are_omitted() -> None:
    assert len(coordinates([(0, 1.0), (1, NAN), (2, float("inf")), (3, 2.0)])) == 2
    assert chart(Curve("a", [(0, NAN)]), Curve("b", [])) is None


@pytest.mark.parametrize(
    ("points", "num"), [([(2**62, 4.0), (2**62 + 1, 4.1)], 2), ([(1e308, 4.0), (2.0, 4.0)], 1), ([(NAN, 4.0)], 0)]
)
def test_steps_of_any_size_are_drawn_or_omitted(points, num: int) -> None:
    found = coordinates(points) if chart(Curve("a", points)) else []
    assert len(found) == num
    for x, y in found:
        assert LEFT <= x <= WIDTH - RIGHT
        assert TOP <= y <= HEIGHT


def test_a_single_point_has_a_frame() -> None:
    ((x, y),) = coordinates([(7, 3.0)])
    assert LEFT < x < WIDTH - RIGHT
    assert TOP < y < HEIGHT
    for step in (0.0, 0.2, 7.0):  # seconds and steps are not negative
        ticks_of = chart(Curve("a", [(step, 3.0)])).x_ticks
        assert ticks_of
        assert not any(label.startswith("-") for _, label in ticks_of)


def test_an_outlier_does_not_flatten_the_curve() -> None:
    heights = [y for _, y in coordinates([(0, 1000.0), *((i, 4.0 - i / 100) for i in range(1, 100))])]
    assert max(heights) - min(heights[1:]) > (HEIGHT - TOP) / 4
    assert heights[0] < TOP  # cut off at the frame


def test_many_points_are_averaged() -> None:
    thinned = thin_out([(i, float(i % 2)) for i in range(1000)], most=100)
    assert len(thinned) == 100
    assert {y for _, y in thinned} == {0.5}
    assert thin_out([], most=10) == []


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 4e9), (1e-12, 2e-12), (2.9, 3.1)])
def test_ticks_are_a_few_numbers_in_the_interval(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 2 <= len(found) <= 6
    assert all(low <= tick <= high * (1 + 1e-9) for tick in found)


def test_extreme_values_have_a_chart_or_none() -> None:
    """Their differences may not be finite."""
    assert len(coordinates([(-(2**63), 1e308), (0, 1.0), (1, -1e308), (2**62, 5e-324), (2**63, 1e29)])) == 3
    for a in (0.0, 5e-324, 1e-308, 1.0, -1e29):
        for b in (a, math.nextafter(a, math.inf), -a):
            drawn = str(chart(Curve("a", [(0, a), (1, b)])))
            assert "nan" not in drawn
            assert "inf" not in drawn
