"""Detection of out-of-distribution images: scores, ROC curves and a table."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc, binary_roc

from lightning_flows.dequantization import DequantizedFlow
from lightning_flows.functional.bits import bits_per_dim
from lightning_flows.functional.philox import streams
from lightning_flows.reporting.figures.style import line
from lightning_flows.reporting.outliers.scores import complexity_corrected, png_sizes, typicality
from lightning_flows.reporting.tables.table import NONE, Table


class ImageBits(NamedTuple):
    """Bits per dimension of each image ``(N,)``, float64: by the flow, and as a PNG file."""

    flow: Tensor
    png: Tensor


class Outliers(NamedTuple):
    """Images of the data, other sets by name, and the mean bits per dimension of training images."""

    inliers: ImageBits
    outliers: dict[str, ImageBits]
    typical: float


SCORES: dict[str, Callable[[ImageBits, float], Tensor]] = {
    "bpd": lambda bits, typical: bits.flow,
    "typicality": lambda bits, typical: typicality(bits.flow, typical),
    "bpd − PNG": lambda bits, typical: complexity_corrected(bits.flow, bits.png),
}
"""Scores of images in bits per dimension, higher for outliers; see :mod:`lightning_flows.reporting.outliers.scores`."""


def image_bits(
    model: DequantizedFlow, images: Tensor, *, num_draws: int = 1, batch_size: int = 64, seed: int = 0
) -> ImageBits:
    """Bits per dimension of images uint8 ``(N, C, H, W)``; the noise of each depends on its index and the seed."""
    device = model.flow.device
    log_likelihood = []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size].to(device)
        noise = streams(seed, "evaluation noise", range(start, start + len(batch)), device=device)
        estimate = model.importance_sample(batch, num_draws, noise=noise, chunk_size=batch_size)
        log_likelihood.append(estimate.log_likelihood.cpu())
    return ImageBits(bits_per_dim(torch.cat(log_likelihood).double(), images[0].numel()), png_sizes(images))


def auroc(inliers: Tensor, outliers: Tensor) -> float:
    """Probability that an outlier's score ``(M,)`` is above an inlier's ``(N,)``; ties count half.

    >>> auroc(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 3.0]))
    0.875
    """
    return float(binary_auroc(*_ranks(inliers, outliers)))


def roc(inliers: Tensor, outliers: Tensor) -> tuple[Tensor, Tensor]:
    """Shares of inliers and outliers with scores above each threshold, from the highest threshold to the lowest."""
    false, true, _ = binary_roc(*_ranks(inliers, outliers))
    return false, true


def outlier_table(data: Outliers) -> Table:
    """Mean bits per dimension of each set, and the AUROC of each score against the inliers."""
    rows = [["in distribution", *_means(data.inliers), *(NONE for _ in SCORES)]]
    for name, bits in data.outliers.items():
        rows.append([name, *_means(bits), *(f"{auroc(*scores):.3f}" for scores in _scores(data, bits).values())])
    return Table(["images", "number", "bpd", "PNG", *(f"AUROC by {name}" for name in SCORES)], rows)


def outliers_figure(data: Outliers) -> Figure:
    """A histogram of bits per dimension, and ROC curves of each score."""
    figure = Figure(figsize=(9.5, 9.5), layout="constrained")
    histogram, *panels = figure.subplots(2, 2).flat
    _draw_histogram(histogram, data)
    for axes, name in zip(panels, SCORES, strict=True):
        for i, (outlier, bits) in enumerate(data.outliers.items(), 1):
            scores = _scores(data, bits)[name]
            axes.plot(*roc(*scores), linewidth=2, label=f"{outlier}: {auroc(*scores):.3f}", **line(i))
        axes.plot([0, 1], [0, 1], color="gray", linewidth=0.8, label="chance: 0.500")
        axes.set(title=f"ROC by {name}", xlabel="false positive rate", ylabel="true positive rate", box_aspect=1)
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))  # curves of a perfect score run along the border
        axes.grid(alpha=0.3)
        axes.legend(title="AUROC", fontsize="small", loc="lower right")
    return figure


def _draw_histogram(axes: Axes, data: Outliers) -> None:
    sets = {"in distribution": data.inliers, **data.outliers}
    values = torch.cat([bits.flow for bits in sets.values()])
    low, high = float(values.min()), float(values.max())
    scale = "log" if 0 < 2 * low < high else "linear"  # outliers may be several times less likely
    edges = np.geomspace(low, high, 61) if scale == "log" else np.linspace(low, max(high, low + 0.1), 61)
    bins = edges.tolist()
    for i, (name, bits) in enumerate(sets.items()):
        shares = torch.full_like(bits.flow, 1 / len(bits.flow))
        axes.hist(bits.flow, bins, weights=shares, color=line(i)["color"], alpha=0.35)
        axes.hist(bits.flow, bins, weights=shares, histtype="step", label=name, **line(i))
    axes.axvline(data.typical, color="black", linestyle=":", label="mean of training images")
    axes.set(title="likelihood", xlabel="bits per dimension", ylabel="share of the set's images", xscale=scale)
    axes.set_box_aspect(1)
    if scale == "log":
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(0, 1.5 * axes.get_ylim()[1])  # room for the legend
    axes.legend(fontsize="small", loc="upper right")


def _scores(data: Outliers, bits: ImageBits) -> Mapping[str, tuple[Tensor, Tensor]]:
    return {name: (score(data.inliers, data.typical), score(bits, data.typical)) for name, score in SCORES.items()}


def _means(bits: ImageBits) -> tuple[str, str, str]:
    return str(len(bits.flow)), f"{float(bits.flow.mean()):.3f}", f"{float(bits.png.mean()):.3f}"


def _ranks(inliers: Tensor, outliers: Tensor) -> tuple[Tensor, Tensor]:
    """Scores as ranks in [0, 1]: torchmetrics applies a sigmoid to others, which makes large ones equal."""
    ranks = torch.cat([inliers, outliers]).unique(return_inverse=True)[1].double()
    labels = torch.cat([torch.zeros(len(inliers)), torch.ones(len(outliers))]).long()
    return ranks / ranks.max().clamp(min=1), labels
