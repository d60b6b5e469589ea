"""Graphs in the plane: locations of nodes, and the density that a flow assigns to a node."""

from collections.abc import Callable

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

GRID = 64
"""Points per side of the grid on which a density is drawn."""
LABELS = {"xlabel": "first feature", "ylabel": "second feature"}


def graph_figure(data: Tensor, samples: Tensor, log_prob: Callable[[Tensor], Tensor]) -> Figure:
    """Nodes of data and of samples, and the learned density of one node of a graph given the others.

    Shapes: data, samples ``(B, N, 2)``; ``log_prob`` maps such graphs to ``(B,)``, in nats.
    """
    figure = Figure(figsize=(12, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    _scatter(left, data, "data")
    _scatter(middle, samples, "samples")
    limits = _limits(data)
    middle.set(**limits)
    x, y, log_density = node_density(data[0], log_prob, limits["xlim"], limits["ylim"])
    right.pcolormesh(x, y, (log_density - log_density.max()).exp(), cmap="viridis", rasterized=True)
    others = data[0, 1:]
    right.scatter(others[:, 0], others[:, 1], marker="x", s=30, color="white", label="the other nodes")
    right.legend(loc="upper right", fontsize="small")
    right.set(title="density of a node, given the others", aspect="equal", **LABELS, **limits)
    return figure


@torch.no_grad()
def node_density(
    graph: Tensor, log_prob: Callable[[Tensor], Tensor], xlim: tuple[float, float], ylim: tuple[float, float]
) -> tuple[Tensor, Tensor, Tensor]:
    """Unnormalized log-density of the first node of ``graph`` ``(N, 2)`` over a grid, given the other nodes.

    Returns the grid's x and y, each ``(G,)``, and the values ``(G, G)``, one row per y.
    """
    x, y = torch.linspace(*xlim, GRID), torch.linspace(*ylim, GRID)
    points = torch.cartesian_prod(y, x).flip(1)
    graphs = graph.expand(len(points), -1, -1).clone()
    graphs[:, 0] = points
    values = torch.cat([log_prob(part) for part in graphs.split(1024)])
    return x, y, values.reshape(GRID, GRID).cpu()


def _scatter(axes: Axes, graphs: Tensor, title: str) -> None:
    nodes = graphs.flatten(0, 1)
    axes.scatter(nodes[:, 0], nodes[:, 1], s=2, alpha=0.4, color="tab:blue", linewidths=0)
    axes.scatter(graphs[0, :, 0], graphs[0, :, 1], s=25, color="tab:orange", label="one graph")
    axes.legend(loc="upper right", fontsize="small")
    axes.set(title=title, aspect="equal", **LABELS, **_limits(graphs))


def _limits(graphs: Tensor) -> dict[str, tuple[float, float]]:
    """A square that contains almost all nodes, regardless of outliers."""
    nodes = graphs.flatten(0, 1)
    nodes = nodes[torch.isfinite(nodes).all(1)]
    if not len(nodes):
        nodes = torch.zeros(1, 2)
    low, high = (nodes.quantile(q, dim=0) for q in (0.001, 0.999))
    middle, half = (low + high) / 2, 0.6 * (high - low).max().clamp(min=1.0)
    x, y = ((float(m - half), float(m + half)) for m in middle)
    return {"xlim": x, "ylim": y}
