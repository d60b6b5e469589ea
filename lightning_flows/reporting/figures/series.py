"""Figure 4 of the paper: how fast the terms of the exponential's power series vanish."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from lightning_flows.functional.norms import conv_norm_bound
from lightning_flows.functional.streams import stream
from lightning_flows.reporting.figures.style import line

NORMS = (0.5, 0.9, 2.0, 4.0)
"""Norms of the kernels of figure 4, including the paper's 0.9."""


class SeriesTerms(NamedTuple):
    """Bounds b on the norms of K convolutions ``(K,)``, and the largest and mean relative size of term i ``(K, T+1)``.

    The size is ‖Mⁱx‖₂/(i! ‖x‖₂); its maximum and mean are over inputs x, in float64.
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
        num_inputs: number of normal inputs over which sizes are averaged.
        seed: seed of the inputs.
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
    """Bounds as lines, measured means as points; a color bar shows b if there are more than four convolutions."""
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    few, scale = len(data.norms) <= 4, Normalize(float(data.norms.min()), float(data.norms.max()))
    for place, k in enumerate(data.norms.argsort().tolist()):
        style = line(place) if few else {"color": colormaps["viridis"](scale(float(data.norms[k]))), "alpha": 0.6}
        label = f"$b$ = {float(data.norms[k]):.2f}" if few else None
        axes.plot(data.bounds[k], label=label, **style)
        axes.plot(data.mean[k], "o", color=style["color"], markersize=4)
    floor = float(data.mean[:, -1].min())
    axes.set(
        yscale="log",
        xlabel="term $i$ of the power series",
        ylabel=r"relative size  $\|M^i x\|_2 \, / \, (i!\,\|x\|_2)$",
        ylim=(max(1e-16, 10 ** math.floor(math.log10(max(floor, 1e-300)))), None),
        xlim=(-0.3, data.mean.shape[1] - 0.7),
    )
    axes.grid(alpha=0.3)
    axes.plot([], color="gray", label="bound $b^i/i!$")
    axes.plot([], "o", color="gray", markersize=4, label="measured mean")
    axes.legend(fontsize="small", ncols=2 if few else 1)
    if not few:
        figure.colorbar(ScalarMappable(scale, "viridis"), ax=axes, label="$b$, an upper bound on the norm of the layer")
    return figure
