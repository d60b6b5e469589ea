import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from lightning_flows.reporting.figures.style import COLORS, DASHES, draw_map, line


def test_lines_differ_in_color_and_in_gray():
    assert len(COLORS) == len(set(COLORS)) == len(DASHES) == len(set(DASHES))
    assert len({(style["color"], style["linestyle"]) for style in map(line, range(42))}) == 42
    rgb = torch.tensor([to_rgb(color) for color in COLORS])
    assert torch.pdist(rgb).min() > 0.25


def shown(values: torch.Tensor, limit: float, **options: str) -> torch.Tensor:
    """Colors ``(H, W, 3)`` of a map."""
    image = draw_map(Figure().subplots(), values, limit, **options)
    return torch.from_numpy(image.to_rgba(image.get_array())[..., :3])


def test_zero_is_white_and_signs_differ_in_color():
    ((low, zero, high, beyond),) = shown(torch.tensor([[-2.0, 0.0, 2.0, 7.0]]), 2.0)
    assert zero.min() > 0.95
    assert low.argmax() == 2  # blue
    assert high.argmax() == 0  # red
    assert torch.equal(beyond, high)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_limit_sets_the_scale_and_values_keep_their_position(dtype):
    values = torch.arange(6, dtype=dtype).reshape(2, 3)
    figure = Figure()
    image = draw_map(figure.subplots(), values, 10.0, title="a map", cmap="gray")
    assert image.get_clim() == (-10, 10)
    assert image.get_array().tolist() == values.tolist()
    (axes,) = figure.axes
    assert axes.get_title() == "a map"
    assert len(axes.get_xticks()) == len(axes.get_yticks()) == 0
    row = shown(values, 10.0, cmap="gray")[0, :, 0]
    torch.testing.assert_close(row, (values[0].double() + 10) / 20, rtol=0, atol=1 / 128)


def test_the_values_set_the_default_scale():
    assert draw_map(Figure().subplots(), torch.tensor([[-3.0, 1.0]])).get_clim() == (-3, 3)
    assert draw_map(Figure().subplots(), torch.zeros(1, 1)).get_clim() == (-1, 1)
