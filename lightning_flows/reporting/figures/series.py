"""Figure 4 of the paper: how fast the terms of the exponential's power series vanish."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from lightning_flows.functional.norms import conv_norm_bound
from lightning_flows.functional.streams import stream
from lightning_flows.reporting.figures.style import COLORS, LINES

NORMS = (0.5, 0.9, 2.0, 4.0)
"""Norms of the kernels of figure 4, the paper's 0.9 among them."""


class SeriesTerms(NamedTuple):
    """Bounds b on the norms of K convolutions ``(K,)``, and the largest and mean relative size of term i ``(K, T+1)``.

    Sizes are ‖Mⁱx‖₂/(i! ‖x‖₂), the largest and the mean of them over inputs x; float64.
    """

    norms: Tensor
    largest: Tensor
    mean: Tensor

    @property
    def bounds(self) -> Tensor:
        """The bounds bⁱ/i! ``(K, T+1)`` on the sizes."""
        i = torch.arange(self.mean.shape[1], dtype=torch.float64)
        return torch.exp(i * self.norms.log()[:, None] - torch.lgamma(i + 1))


def random_kernels(norms: Sequence[float] = NORMS, channels: int = 3, seed: int = 0) -> list[Tensor]:
    """Normal 3x3 kernels ``(channels, channels, 3, 3)``, scaled so that :func:`conv_norm_bound` gives ``norms``."""
    generator = stream(seed, "figure's kernels")
    kernels = [torch.randn(channels, channels, 3, 3, generator=generator, dtype=torch.float64) for _ in norms]
    return [norm / conv_norm_bound(kernel) * kernel for norm, kernel in zip(norms, kernels, strict=True)]


@torch.no_grad()
def series_terms(
    kernels: Sequence[Tensor], size: int = 16, num_terms: int = 14, num_inputs: int = 32, seed: int = 0
) -> SeriesTerms:
    r"""Bounds and measured sizes of the terms of :math:`m \star_e x = \sum_i m \star^i x / i!` for each kernel m.

    .. math:: \frac{\|M^i x\|_2}{i!\,\|x\|_2} \le \frac{b^i}{i!}, \qquad b \ge \|M\|_2

    Args:
        kernels: m, ``(C, C, h, w)`` with odd h and w.
        size: height and width of the inputs.
        num_terms: T.
        num_inputs: normal inputs over which sizes are measured.
        seed: of the inputs.
    Source: section 3 of the paper; b is :func:`conv_norm_bound`.
    """
    norms, largest, mean = [], [], []
    generator = stream(seed, "figure's inputs")
    for kernel in (kernel.double().cpu() for kernel in kernels):
        term = torch.randn(num_inputs, kernel.shape[1], size, size, generator=generator, dtype=torch.float64)
        norm, sizes = term.flatten(1).norm(dim=1), []
        for i in range(num_terms + 1):
            sizes.append(term.flatten(1).norm(dim=1) / norm)
            term = F.conv2d(term, kernel, padding="same") / (i + 1)
        norms.append(conv_norm_bound(kernel))
        largest.append(torch.stack(sizes).amax(1))
        mean.append(torch.stack(sizes).mean(1))
    return SeriesTerms(torch.stack(norms), torch.stack(largest), torch.stack(mean))


def series_terms_figure(data: SeriesTerms) -> Figure:
    """Bounds as lines, measured means as points; of more than four convolutions the legend names the first and last."""
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    order = data.norms.argsort().tolist()
    few = len(order) <= 4
    for place, k in enumerate(order):
        color, line = (COLORS[place], LINES[place]) if few else (COLORS[0], LINES[0])
        named = few or place in (0, len(order) - 1)
        label = f"$b$ = {float(data.norms[k]):.2f}" if named else None
        alpha = 1.0 if few else 0.5
        axes.plot(data.bounds[k], color=color, linestyle=line, alpha=alpha, label=label and f"bound, {label}")
        axes.plot(data.mean[k], "o", color=color if few else COLORS[1], markersize=4, alpha=alpha, label=label)
    floor = float(data.mean[:, -1].min())
    axes.set(
        yscale="log",
        xlabel="term $i$ of the power series",
        ylabel=r"relative size  $\|M^i x\|_2 \, / \, (i!\,\|x\|_2)$",
        ylim=(max(1e-16, 10 ** math.floor(math.log10(max(floor, 1e-300)))), None),
        xlim=(0, data.mean.shape[1] - 1),
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", ncols=2, title="lines: bound $b^i/i!$    points: measured")
    return figure
