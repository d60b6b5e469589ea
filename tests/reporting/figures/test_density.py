"""Figures of densities in the plane."""

import math

import pytest
import torch
from matplotlib.collections import PathCollection

from lightning_flows.distributions.toys import toy
from lightning_flows.reporting.figures.density import around, density_figure, grid_log_prob


def test_the_grid_has_the_values_of_its_cells_and_integrates_to_one() -> None:
    limits, calls = torch.tensor([[-6.0, 6.0], [-3.0, 7.0]]), []

    def log_prob(x: torch.Tensor) -> torch.Tensor:
        calls.append(len(x))
        return -0.5 * ((x[:, 0] - 1).square() + (x[:, 1] - 3).square()) - math.log(2 * math.pi)

    values = grid_log_prob(log_prob, limits, 100)
    row, column = divmod(int(values.argmax()), 100)
    assert (row, column) == (59, 58)  # y = 2.95, x = 1.02
    assert values.exp().sum().item() * 0.12 * 0.1 == pytest.approx(1, abs=1e-3)
    assert sum(calls) == 10_000


def test_limits_contain_almost_all_points_at_one_scale() -> None:
    points = toy("moons").sample(4000, generator=torch.Generator().manual_seed(0))
    points[0], points[1] = 1000.0, torch.nan
    (x0, x1), (y0, y1) = around(points).tolist()
    assert -2 < x0 < -1.2
    assert 2.2 < x1 < 3
    assert -1.5 < y0 < -0.7
    assert 1.2 < y1 < 2
    assert (x1 - x0) / (y1 - y0) < 1.51
    on_a_line = torch.stack([torch.linspace(0, 3, 100), torch.zeros(100)], 1)
    (x0, x1), (y0, y1) = around(on_a_line).tolist()
    assert (x1 - x0) / (y1 - y0) == pytest.approx(1.5)
    assert around(torch.full((5, 2), torch.nan)).isfinite().all()


def test_all_panels_have_the_same_axes() -> None:
    density = toy("checkerboard")
    data = density.sample(500, generator=torch.Generator().manual_seed(0))
    samples = torch.cat([data, torch.full((2, 2), torch.inf)])  # broken samples do not prevent a figure
    figure = density_figure(data, samples, density.log_prob)
    assert [axes.get_title() for axes in figure.axes] == ["data", "samples", "density"]
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in figure.axes}) == 1
    for axes in figure.axes[:2]:
        (points,) = axes.collections
        assert isinstance(points, PathCollection)
        assert len(points.get_offsets()) == 500  # type: ignore[arg-type]
    shown = torch.as_tensor(figure.axes[2].images[0].get_array())
    inside = (shown > 0).float().mean()
    assert 0.3 < inside < 0.5  # half of the board, which has a margin
