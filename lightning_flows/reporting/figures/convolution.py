"""Figures 1 to 3 of the paper: a convolution as a matrix, its exponential, and the feature maps of both directions."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from lightning_flows.functional.convolution import dense_kernel
from lightning_flows.functional.series import linear_exponential
from lightning_flows.functional.streams import stream
from lightning_flows.reporting.figures.style import draw_map

KERNEL = ((0.1, 0.3, -0.2), (0.4, 0.5, 0.0), (-0.3, 0.2, -0.1))
"""The kernel m of figures 1 and 2; the paper does not list its values."""
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
    """The terms m ⋆ⁱ x / i! and their sum z, ``(T + 2, H, W)``; for the inverse, (−m) ⋆ⁱ z / i! and their sum x."""

    forward: Tensor
    inverse: Tensor


def equivalent_matrices(size: int = 5, seed: int = 0) -> EquivalentMatrices:
    r"""The matrix M of a zero-padded convolution, and its exponential, column by column, by the power series.

    .. math:: \operatorname{vec}(m \star x) = M \operatorname{vec}(x), \qquad
              \exp(M) = \sum_{i \ge 0} \frac{M^i}{i!}, \qquad \log\det\exp(M) = \operatorname{tr} M

    Args:
        size: height and width of the signal.
        seed: seed of the signal, which is uniform on [−1, 1].
    Source: section 2.2 and equation 4 of the paper.
    """
    kernel = torch.tensor(KERNEL, dtype=torch.float64)
    signal = 2 * torch.rand(size, size, generator=stream(seed, "figure's signal"), dtype=torch.float64) - 1
    matrix = dense_kernel(kernel[None, None], (size, size))[:, :, 0, 0]
    basis = torch.eye(size**2, dtype=torch.float64).reshape(-1, 1, size, size)
    exponential = _exponential(kernel, basis).flatten(1).T
    return EquivalentMatrices(kernel, signal, _convolve(kernel, signal[None, None])[0, 0], matrix, exponential)


def feature_maps(image: Tensor, num_terms: int = 5) -> FeatureMaps:
    """The maps of both directions for a grayscale image ``(H, W)``: terms up to T = ``num_terms``, and full sums."""
    kernel, x = torch.tensor(EDGE_FILTER, dtype=torch.float64), image.double()[None, None]
    z = _exponential(kernel, x)
    forward = [*_terms(kernel, x, num_terms), z]
    inverse = [*_terms(-kernel, z, num_terms), _exponential(-kernel, z)]
    return FeatureMaps(torch.cat(forward)[:, 0], torch.cat(inverse)[:, 0])


def exponential_matrix_figure(data: EquivalentMatrices) -> Figure:
    """Figure 1: M and exp(M), each with its own color scale."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    trace = float(data.matrix.trace())
    titles = "$M$, equivalent to a convolution", rf"$\exp(M)$,  log det = tr $M$ = {trace:.1f} nats"
    ticks = range(0, len(data.matrix), math.isqrt(len(data.matrix)))  # first pixel of each row of the image
    for axes, values, title in zip(figure.subplots(1, 2), (data.matrix, data.exponential), titles, strict=True):
        image = draw_map(axes, values, title=title)
        axes.set(xticks=ticks, yticks=ticks, xlabel="input pixel", ylabel="output pixel")
        figure.colorbar(image, cax=axes.inset_axes((1.03, 0, 0.04, 1)))
    return figure


def convolution_matrix_figure(data: EquivalentMatrices) -> Figure:
    """Figure 2: a convolution of a signal, and the same as the product of a matrix and a vector."""
    figure = Figure(figsize=(11, 3.3), layout="constrained")
    axes = figure.subplots()
    limit = max(float(values.abs().max()) for values in (data.kernel, data.signal, data.convolved))
    size, place = len(data.matrix), 0.0  # in units of a matrix entry
    vector = data.signal.reshape(-1, 1)
    maps = [
        (data.kernel, 3.0, "$m$", r"$\star$"), (data.signal, 3.0, "$x$", "="),
        (data.convolved, 3.0, r"$m \star x$", r"$\Leftrightarrow$"),
        (data.matrix, 1.0, "$M$", r"$\cdot$"), (vector, 1.0, r"$\vec{x}$", "="),
        (data.convolved.reshape(-1, 1), 1.0, r"$M \vec{x}$", ""),
    ]  # fmt: skip
    for values, scale, name, sign in maps:
        height, width = (scale * n for n in values.shape)
        extent = (place, place + width, (size + height) / 2, (size - height) / 2)
        draw_map(axes, values, limit, extent=extent)
        axes.text(place + width / 2, -1.2, name, ha="center", va="bottom", fontsize=13)
        place += width + 5
        axes.text(place - 2.5, size / 2, sign, ha="center", va="center", fontsize=24)
    axes.set(xlim=(-0.5, place - 4.5), ylim=(size + 0.5, -4))
    axes.axis("off")
    figure.colorbar(axes.images[0], ax=axes, shrink=0.8, label="value")
    return figure


def feature_maps_figure(data: FeatureMaps) -> Figure:
    """Figure 3: forward, z = m ⋆ₑ x, above the inverse, x = (−m) ⋆ₑ z; each map with its own gray scale."""
    columns = len(data.forward)
    figure = Figure(figsize=(1.6 * columns, 4.1), layout="constrained")
    rows = zip(figure.subplots(2, columns), data, (("m", "x", "z"), ("(-m)", "z", "x")), strict=True)
    for axes_row, maps, (kernel, start, end) in rows:
        titles = [_term_name(kernel, start, i) for i in range(columns - 1)]
        titles.append(rf"${end} = {kernel}\,{{\star}}_e\,{start}$")
        for axes, values, title in zip(axes_row, maps, titles, strict=True):
            draw_map(axes, values, title=title, cmap="gray")
            axes.set_xlabel(f"±{float(values.abs().max()):.2g}", fontsize="small")
    figure.axes[0].set_ylabel("forward")
    figure.axes[columns].set_ylabel("inverse")
    figure.supxlabel("below each map: white and black, relative to the range of the image", fontsize="small")
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
    power, factor = (f"^{i}", f"\\,/\\,{i}!") if i > 1 else ("", "")
    return rf"${kernel}\,{{\star}}{power}\,{x}{factor}$" if i else f"${x}$"
