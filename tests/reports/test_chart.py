import re
from xml.etree import ElementTree

from lightning_flows.reports.chart import HEIGHT, LEFT, NUM_COLOURS, RIGHT, TOP, WIDTH, Line, line_chart, thin_out

NAN = float("nan")


def coordinates(svg: str, colour: int) -> list[tuple[float, float]]:
    (path,) = re.findall(rf'<path class="c{colour}[^"]*" d="M([^"]*)"', svg)
    return [tuple(map(float, pair.split())) for pair in path.split("L")]


def test_lower_values_lie_lower_and_later_ones_to_the_right() -> None:
    (x0, y0), (x1, y1) = coordinates(line_chart([Line([(0, 5.0), (10, 3.0)])], y_label="bits"), 0)
    assert LEFT < x0 < x1 < WIDTH - RIGHT
    assert TOP < y0 < y1 < HEIGHT


def test_it_is_well_formed_and_takes_colours_from_the_page() -> None:
    svg = line_chart([Line([(0, 1.0), (1, 2.0)], i) for i in range(NUM_COLOURS + 1)], y_label="a < b & c")
    root = ElementTree.fromstring(svg)
    assert root.get("aria-label") == "a < b & c by step"
    assert not re.search("stroke=|fill=|#", svg)
    assert svg.count('<path class="c0 dashed"') == 1


def test_values_that_are_not_finite_are_left_out() -> None:
    assert len(coordinates(line_chart([Line([(0, 1.0), (1, NAN), (2, float("inf")), (3, 2.0)])], y_label="y"), 0)) == 2
    assert line_chart([Line([(0, NAN)]), Line([])], y_label="y") is None


def test_a_single_point_has_a_frame() -> None:
    ((x, y),) = coordinates(line_chart([Line([(7, 3.0)])], y_label="y"), 0)
    assert LEFT < x < WIDTH - RIGHT
    assert TOP < y < HEIGHT


def test_an_outlier_does_not_flatten_the_curve() -> None:
    points = [(0, 1000.0), *((i, 4.0 - i / 100) for i in range(1, 100))]
    heights = [y for _, y in coordinates(line_chart([Line(points)], y_label="y"), 0)]
    assert max(heights) - min(heights[1:]) > (HEIGHT - TOP) / 4
    assert heights[0] < TOP  # cut off at the frame


def test_many_points_are_averaged() -> None:
    thinned = thin_out([(i, float(i % 2)) for i in range(1000)], most=100)
    assert len(thinned) == 100
    assert {y for _, y in thinned} == {0.5}
    assert thin_out([], most=10) == []
