"""Figures 1 to 3 of the paper: a convolution as a matrix, its exponential, and the feature maps of both directions."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lightning_flows.functional.series import linear_exponential
from lightning_flows.functional.streams import stream
from lightning_flows.reporting.figures.style import draw_map

KERNEL = ((0.1, 0.3, -0.2), (0.4, 0.5, 0.0), (-0.3, 0.2, -0.1))
"""The kernel m of figures 1 and 2; the paper does not give the values of its own."""
EDGE_FILTER = ((0.6, 0.0, -0.6),)
"""The filter of figure 3."""


class EquivalentMatrices(NamedTuple):
    """A kernel ``(h, w)``, a signal and its convolution ``(H, W)``, the matrix M and exp(M) ``(HW, HW)``, float64."""

    kernel: Tensor
    signal: Tensor
    convolved: Tensor
    matrix: Tensor
    exponential: Tensor


class FeatureMaps(NamedTuple):
    """The terms m ⋆ⁱ x / i! and their sum z, ``(T + 2, H, W)``; and of the way back, (−m) ⋆ⁱ z / i! and their sum x."""

    forward: Tensor
    reverse: Tensor


def equivalent_matrices(size: int = 5, seed: int = 0) -> EquivalentMatrices:
    r"""The matrix M of a zero-padded convolution, column by column, and its exponential by the power series.

    .. math:: \operatorname{vec}(m \star x) = M \operatorname{vec}(x), \qquad
              \exp(M) = \sum_{i \ge 0} \frac{M^i}{i!}, \qquad \log\det\exp(M) = \operatorname{tr} M

    Args:
        size: height and width of the signal.
        seed: of the signal, uniform on [−1, 1].
    Source: section 2.2 and equation 4 of the paper.
    """
    kernel = torch.tensor(KERNEL, dtype=torch.float64)
    signal = 2 * torch.rand(size, size, generator=stream(seed, "figure's signal"), dtype=torch.float64) - 1
    basis = torch.eye(size**2, dtype=torch.float64).reshape(-1, 1, size, size)
    matrix = _convolve(kernel, basis).flatten(1).T
    exponential = _exponential(kernel, basis).flatten(1).T
    return EquivalentMatrices(kernel, signal, _convolve(kernel, signal[None, None])[0, 0], matrix, exponential)


def feature_maps(image: Tensor, num_terms: int = 5) -> FeatureMaps:
    """The maps of both directions for a gray image ``(H, W)``, terms up to T = ``num_terms``; the sums are of all."""
    kernel, x = torch.tensor(EDGE_FILTER, dtype=torch.float64), image.double()[None, None]
    z = _exponential(kernel, x)
    forward = [*_terms(kernel, x, num_terms), z]
    reverse = [*_terms(-kernel, z, num_terms), _exponential(-kernel, z)]
    return FeatureMaps(torch.cat(forward)[:, 0], torch.cat(reverse)[:, 0])


def exponential_matrix_figure(data: EquivalentMatrices) -> Figure:
    """Figure 1: M and exp(M), each entry by its color."""
    figure = Figure(figsize=(8.4, 4.2), layout="constrained")
    panels = figure.subplots(1, 2)
    limit = float(data.exponential.abs().max())
    trace = float(data.matrix.trace())
    image = draw_map(panels[0], data.matrix, limit, title="$M$, equivalent to a convolution")
    draw_map(panels[1], data.exponential, limit, title=rf"$\exp(M)$,  log det = tr $M$ = {trace:.1f} nats")
    for axes in panels:
        _number_pixels(axes, len(data.matrix))
        axes.set_xlabel("pixel of the input")
    panels[0].set_ylabel("pixel of the output")
    figure.colorbar(image, ax=panels, label="entry of the matrix")
    return figure


def convolution_matrix_figure(data: EquivalentMatrices) -> Figure:
    """Figure 2: a convolution of a signal, and the same as a product of a matrix and a vector."""
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    ratios = [3, 0.8, 5, 0.8, 5, 1.8, 9, 0.8, 0.6, 0.8, 0.6]
    kernel, star, signal, equals, convolved, same, matrix, dot, vector, becomes, product = figure.subplots(
        1, len(ratios), width_ratios=ratios
    )
    limit = max(float(values.abs().max()) for values in (data.kernel, data.signal, data.convolved))
    draw_map(kernel, data.kernel, limit, title="$m$")
    draw_map(signal, data.signal, limit, title="$x$")
    draw_map(convolved, data.convolved, limit, title=r"$m \star x$")
    draw_map(matrix, data.matrix, limit, title="$M$")
    draw_map(vector, data.signal.reshape(-1, 1), limit, title=r"$\vec{x}$")
    image = draw_map(product, data.convolved.reshape(-1, 1), limit, title=r"$M \vec{x}$")
    signs = {star: r"$\star$", equals: "=", same: r"$\Leftrightarrow$", dot: r"$\cdot$", becomes: "="}
    for axes, sign in signs.items():
        axes.axis("off")
        axes.text(0.5, 0.5, sign, ha="center", va="center", fontsize=18, transform=axes.transAxes)
    figure.colorbar(image, ax=figure.axes, label="value", shrink=0.8)
    return figure


def feature_maps_figure(data: FeatureMaps) -> Figure:
    """Figure 3: maps of the way forward, z = m ⋆ₑ x, above those of the way back, x = (−m) ⋆ₑ z."""
    columns = data.forward.shape[0]
    figure = Figure(figsize=(1.6 * columns + 1, 3.9), layout="constrained")
    limit = float(torch.cat(data).abs().max())
    for axes_row, maps, (kernel, start, end) in zip(
        figure.subplots(2, columns), data, (("m", "x", "z"), ("-m", "z", "x")), strict=True
    ):
        titles = [_term_name(kernel, start, i) for i in range(columns - 1)]
        for axes, values, title in zip(axes_row, maps, [*titles, rf"${end} = {kernel} \star_e {start}$"], strict=True):
            image = draw_map(axes, values, limit, title=title, cmap="gray")
            axes.set_xlabel(f"max |·| = {float(values.abs().max()):.2g}", fontsize="small")
    figure.axes[0].set_ylabel("forward")
    figure.axes[columns].set_ylabel("reverse")
    figure.colorbar(image, ax=figure.axes, label="value, in ranges of the image", shrink=0.8)
    return figure


def _convolve(kernel: Tensor, x: Tensor) -> Tensor:
    return F.conv2d(x, kernel[None, None], padding=(kernel.shape[0] // 2, kernel.shape[1] // 2))


def _exponential(kernel: Tensor, x: Tensor) -> Tensor:
    return linear_exponential(lambda term: _convolve(kernel, term), x, norm_bound=float(kernel.abs().sum()))


def _terms(kernel: Tensor, x: Tensor, num_terms: int) -> list[Tensor]:
    terms = [x]
    for i in range(1, num_terms + 1):
        terms.append(_convolve(kernel, terms[-1]) / i)
    return terms


def _term_name(kernel: str, x: str, i: int) -> str:
    if i == 0:
        return f"${x}$"
    power, factor = (rf"\star^{i}", f"/{i}!") if i > 1 else (r"\star", "")
    return rf"${kernel} {power} {x}{factor}$"


def _number_pixels(axes: Axes, num_pixels: int) -> None:
    """Ticks at the first pixel of each row of the image."""
    ticks = range(0, num_pixels, math.isqrt(num_pixels))
    axes.set(xticks=ticks, yticks=ticks)
