import torch

from lightning_flows.distributions.graph_mixture import graph_mixture
from lightning_flows.reporting.figures.graphs import GRID, graph_figure, node_density


def test_the_density_of_a_node_peaks_at_the_remaining_mean():
    mixture = graph_mixture("mog4")
    graph = torch.tensor([[0.0, 0.0], [-5.0, 5.0], [5.0, -5.0], [5.0, 5.0]])
    x, y, values = node_density(graph, mixture.log_prob, (-8.0, 8.0), (-8.0, 8.0))
    assert values.shape == (GRID, GRID)
    row, column = divmod(int(values.argmax()), GRID)
    assert abs(x[column] + 5) < 0.3
    assert abs(y[row] + 5) < 0.3


def test_figures_show_all_nodes(tmp_path):
    mixture = graph_mixture("mog9")
    data = mixture.sample(20, generator=torch.Generator().manual_seed(0))
    samples = data.clone()
    samples[0, 0] = torch.nan  # a broken sample does not prevent an image
    figure = graph_figure(data, samples, mixture.log_prob)
    left, middle, right = figure.axes
    assert len(left.collections[0].get_offsets()) == len(middle.collections[0].get_offsets()) == 180
    assert right.get_title() == "density of a node, given the others"
    assert {axes.get_xlabel() for axes in figure.axes} == {"first feature"}
    low, high = left.get_xlim()
    assert low < -5
    assert high > 15
    figure.savefig(tmp_path / "figure.png")
