"""Plots of samples as images ``(3, H, W)`` in uint8."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

MAX_COLUMNS = 5  # of a scatter matrix
COLOR = "tab:blue"


def plot_nodes(samples: Tensor) -> Tensor:
    """Plot nodes ``(B, N, F)`` by their first two features, or by 0 and their only one, with one graph highlighted."""
    figure = _figure(4)
    axes = figure.subplots()
    nodes = samples[..., :2].detach().cpu().double()
    nodes = F.pad(nodes, (2 - nodes.shape[2], 0))
    for points, size, options in ((nodes.flatten(0, 1), 2, {"alpha": 0.4}), (nodes[0], 25, {"label": "one graph"})):
        axes.scatter(points[:, 0], points[:, 1], size, linewidths=0, **options)
    axes.legend(loc="upper right", fontsize="small")
    names = ("first feature", "second feature") if samples.shape[2] > 1 else ("", "feature")
    axes.set(xlabel=names[0], ylabel=names[1], aspect="equal")
    return _pixels(figure)


def plot_rows(samples: Tensor) -> Tensor:
    """Plot vectors ``(B, D)``: a histogram, a scatter plot, or a matrix of both of the first five values.

    Vectors with a value that is not finite are not drawn.
    """
    rows = samples[:, :MAX_COLUMNS].detach().cpu().double()  # float32 cannot resolve the bins of a narrow range
    rows = rows[rows.isfinite().all(1)]
    num = rows.shape[1]
    if num == 2:
        figure = _figure(4)
        _scatter(figure.subplots(), rows[:, 0], rows[:, 1])
        figure.axes[0].set(aspect="equal")
        return _pixels(figure)
    figure = _figure(4 if num == 1 else 1.6 * num)
    for i, line in enumerate(figure.subplots(num, num, squeeze=False)):
        for j, axes in enumerate(line):
            if i == j:
                axes.hist(rows[:, i], bins=40, color=COLOR)
                axes.set(yticks=[])
            else:
                _scatter(axes, rows[:, j], rows[:, i])
            axes.tick_params(labelsize="x-small", labelbottom=i == num - 1, labelleft=j == 0 and i > 0)
    return _pixels(figure)


def _scatter(axes: Any, x: Tensor, y: Tensor) -> None:
    axes.scatter(x, y, 4, alpha=0.4, linewidths=0, color=COLOR)


def _figure(inches: float) -> Any:
    from matplotlib.figure import Figure  # only needed here

    return Figure(figsize=(inches, inches), layout="constrained")


def _pixels(figure: Any) -> Tensor:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return torch.from_numpy(np.asarray(canvas.buffer_rgba())[..., :3].copy()).permute(2, 0, 1)
