import math
import re
from xml.etree import ElementTree

import pytest
from markupsafe import Markup

from lightning_flows.reporting.report.chart import (
    HEIGHT,
    LEFT,
    NUM_COLORS,
    RIGHT,
    TOP,
    WIDTH,
    Line,
    _text,
    line_chart,
    thin_out,
)

NAN = float("nan")


def coordinates(svg: str, color: int) -> list[tuple[float, float]]:
    (path,) = re.findall(rf'<path class="c{color}[^"]*" d="M([^"]*)"', svg)
    return [tuple(map(float, pair.split())) for pair in path.split("L")]


def test_lower_values_lie_lower_and_later_ones_to_the_right() -> None:
    (x0, y0), (x1, y1) = coordinates(line_chart([Line([(0, 5.0), (10, 3.0)])], y_label="bits"), 0)
    assert LEFT < x0 < x1 < WIDTH - RIGHT
    assert TOP < y0 < y1 < HEIGHT


def test_it_is_well_formed_and_takes_colors_from_the_page() -> None:
    svg = line_chart([Line([(0, 1.0), (1, 2.0)], i) for i in range(NUM_COLORS + 1)], y_label="a < b & c")
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


EVIL = "<script>\"&'</script>"


@pytest.mark.parametrize("label", ["y_label", "x_label"])
def test_labels_are_text_wherever_they_stand(label: str) -> None:
    """In an attribute and in an element: nothing of them is markup."""
    svg = line_chart([Line([(0, 1.0), (1, 2.0)])], **{"y_label": "y", label: EVIL})
    root = ElementTree.fromstring(svg)
    assert "<script" not in svg
    assert svg.count("<script>") == 0
    assert EVIL in root.get("aria-label")
    assert {element.tag.rpartition("}")[2] for element in root.iter()} == {"svg", "path", "text", "circle"}
    if label == "x_label":
        assert EVIL in [element.text for element in root.iter() if element.tag.endswith("text")]


def test_what_is_drawn_is_markup_only_once_it_is_escaped() -> None:
    assert _text(0, 0, EVIL) == (
        '<text x="0.0" y="0.0" text-anchor="middle">&lt;script&gt;&#34;&amp;&#39;&lt;/script&gt;</text>'
    )
    assert 'text-anchor="&lt;script&gt;&#34;' in _text(0, 0, "", EVIL)
    assert isinstance(_text(0, 0, EVIL), Markup)


def test_values_without_a_place_are_left_out() -> None:
    """Their differences are not finite."""
    svg = line_chart([Line([(-(2**63), 1e308), (0, 1.0), (1, -1e308), (2**62, 5e-324), (2**63, 1e29)])], y_label="y")
    assert len(coordinates(svg, 0)) == 3
    assert not re.search("nan|inf", svg)
    for a in (0.0, 5e-324, 1e-308, 1.0, -1e29):
        for b in (a, math.nextafter(a, math.inf), -a):
            ElementTree.fromstring(line_chart([Line([(0, a), (1, b)])], y_label="y"))
