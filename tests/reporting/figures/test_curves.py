"""Figure of validation curves."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection

from lightning_flows.reporting.figures.curves import curves_figure, limits
from lightning_flows.reporting.tables.curves import RowCurve


def row(values: dict[int, float], *, spread: float = 0.0, seconds: float | None = 0.1) -> RowCurve:
    means = list(values.items())
    return RowCurve(means, [y - spread for _, y in means], [y + spread for _, y in means], seconds)


FIRST = row({100: 8.0, 250: 4.0, 500: 3.2, 1000: 3.1})
LATE = row({100: 9.0, 250: 4.4, 500: 3.2, 1000: 3.0}, spread=0.05, seconds=0.2)
TO_FIRST = {"first": "first", "late": "first"}


def test_the_range_shows_the_end_of_training_not_its_start() -> None:
    low, high = limits([FIRST, LATE])
    assert 2.8 < low < 2.95
    assert 4.4 < high < 4.6
    low, high = limits([row({1000: 3.0})])
    assert low < 3.0 < high


def test_a_line_for_each_row_in_both_panels_with_the_band_of_its_seeds() -> None:
    figure = curves_figure({"first": FIRST, "late": LATE}, TO_FIRST, title="Table 2")
    left, right = figure.axes
    for axes, scale in ((left, 1.0), (right, 0.2)):
        lines = [line for line in axes.lines if line.get_marker() == "None"]
        assert [list(line.get_ydata()) for line in lines] == [[8.0, 4.0, 3.2, 3.1], [9.0, 4.4, 3.2, 3.0]]
        assert list(lines[1].get_xdata()) == pytest.approx([scale * step for step in (100, 250, 500, 1000)])
        assert lines[0].get_color() != lines[1].get_color()
        assert len([each for each in axes.collections if isinstance(each, PolyCollection)]) == 1
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["first: 3.100", "late: 3.000"]


def test_without_times_there_is_one_panel() -> None:
    curves = {name: curve._replace(step_seconds=None) for name, curve in {"first": FIRST, "late": LATE}.items()}
    (axes,) = curves_figure(curves, TO_FIRST).axes
    assert axes.get_xlabel() == "training steps"
    assert len(axes.lines) == 3  # with a circle


@pytest.mark.parametrize("num", [1, 2, 5, 9])
@pytest.mark.parametrize("length", [3, 30, 60])
def test_the_legend_shows_the_lines_of_all_rows_inside_the_figure(num: int, length: int) -> None:
    """Crossings are drawn between the lines."""
    rows = [f"{i}".ljust(length, "m") for i in range(num)]
    curves = {row: LATE if i else FIRST for i, row in enumerate(rows)}
    figure = curves_figure(curves, dict.fromkeys(rows, rows[0]), title="Table")
    FigureCanvasAgg(figure).draw()
    (legend,) = figure.legends
    lines = [line for line in figure.axes[0].lines if line.get_marker() == "None"]
    assert [each.get_color() for each in legend.get_lines()] == [line.get_color() for line in lines]
    assert {each.get_marker() for each in legend.get_lines()} == {"None"}
    inside, box = figure.bbox, legend.get_window_extent()
    assert inside.x0 <= box.x0 < box.x1 <= inside.x1
    assert box.y1 <= figure.axes[0].get_tightbbox().y0
    assert figure.axes[0].get_window_extent().height > 200


def test_circles_mark_crossings_with_the_baseline() -> None:
    left, right = curves_figure({"first": FIRST, "late": LATE}, TO_FIRST).axes
    (by_step,) = [line for line in left.lines if line.get_marker() == "o"]
    assert list(by_step.get_xdata()) == [500.0]
    assert not [line for line in right.lines if line.get_marker() == "o"]  # 3.2 after 100 s, where the first has 3.1


def test_each_row_has_its_own_baseline_and_none_is_marked_without_one() -> None:
    later = row({100: 9.0, 1000: 3.3, 2000: 2.9})
    curves = {"first": FIRST, "late": LATE, "own": later, "lost": later}
    left, _ = curves_figure(curves, {"first": "late", "late": "late", "own": "own", "lost": "nowhere"}).axes
    (circle,) = [line for line in left.lines if line.get_marker() == "o"]
    assert circle.get_color() == left.lines[0].get_color()  # of the first row, which is compared with the late one
    assert list(circle.get_xdata()) == [500.0]


def test_rows_without_a_time_are_in_the_left_panel_only() -> None:
    curves = {"first": row({1: 2.0, 2: 1.0}, seconds=None), "other": FIRST}
    left, right = curves_figure(curves, dict.fromkeys(curves, "first")).axes
    assert [len(line.get_xdata()) for line in left.lines] == [2, 4]
    assert [len(line.get_xdata()) for line in right.lines] == [0, 4]
    assert "(s)" in right.get_xlabel()
