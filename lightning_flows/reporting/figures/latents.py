"""Distribution of latents."""

import math
from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from lightning_flows.reporting.figures.style import line

LIMIT, NUM_BINS = 4.0, 80


def latents_figure(levels: Sequence[Tensor]) -> Figure:
    """Density of each level's latents ``(num,)``, with that of the standard normal distribution."""
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.subplots()
    edges = torch.linspace(-LIMIT, LIMIT, NUM_BINS + 1)
    axes.fill_between(edges, torch.exp(-0.5 * edges.square()) / math.sqrt(2 * math.pi), color="0.85", label="normal")
    for number, values in enumerate(levels, 1):
        density = torch.histogram(values.float(), edges).hist / (values.numel() * (edges[1] - edges[0]))
        outside = 100 * (values.abs() > LIMIT).float().mean().item()
        label = f"level {number}" + (f", {outside:.2g} % beyond ±{LIMIT:.0f}" if outside else "")
        axes.stairs(density, edges, label=label, **line(number - 1))
    axes.set(xlim=(-LIMIT, LIMIT), ylim=(0, None), xlabel="latent, standardized by its prior", ylabel="density")
    axes.set_ylim(0, 1.4 * axes.get_ylim()[1])  # room for the legend
    axes.legend(frameon=False)
    return figure
