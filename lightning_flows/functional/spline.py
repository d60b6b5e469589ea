"""Monotone maps of values by rational-quadratic splines."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_flows.functional.monotone import soft_clamp

BOUND = 4.0
"""The spline maps [−BOUND, BOUND] onto itself; outside it is linear."""
LOG_SCALE_BOUND = 4.0
MIN_SHARE, MIN_SLOPE = 1e-2, 1e-2
SLOPE_OFFSET = math.log(math.expm1(1 - MIN_SLOPE))  # a parameter of zero is a slope of one


def num_spline_parameters(bins: int) -> int:
    """:math:`3K + 3` for K bins: shift, log-scale, widths and heights of the bins, slopes at their ends.

    >>> num_spline_parameters(8)
    27
    """
    return 2 + 3 * bins + 1


def spline(y: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    r"""Map each value by a shift and a scale, and then by a spline of K bins between knots :math:`(x_k, h_k)`.

    With :math:`u = e^a (y - b)` in bin k, :math:`t = (u - x_k)/(x_{k+1} - x_k)`, s the mean slope of the bin, and
    :math:`d_k` the slopes at its ends:

    .. math:: z = h_k + \frac{(h_{k+1} - h_k)\,(s t^2 + d_k t (1-t))}{s + (d_k + d_{k+1} - 2s)\, t (1-t)}

    Outside the first and the last knot, z is linear with the slope there. All parameters zero give the identity.

    Shapes: y, z, log z' ``(...)``; values ``(3K + 3, ...)``, broadcast with y.
    Source: Durkan et al., Neural spline flows, 2019; with a shift and a scale before.

    >>> y, values = torch.randn(5), torch.randn(27, 5)
    >>> z, log_slope = spline(y, values)
    >>> torch.allclose(inverse_spline(z, values)[0], y, atol=1e-3)
    True
    >>> torch.allclose(spline(y, torch.zeros(27, 1))[0], y, atol=1e-5)
    True
    """
    shift, log_scale, knots = _parameters(y, values)
    u = (y - shift) * log_scale.exp()
    bins = _Bin(knots, knots[0], u)
    z, slope = bins.value_and_slope((bins.inside - bins.x) / bins.width)
    return torch.addcmul(z, slope, u - bins.inside), slope.log() + log_scale


def inverse_spline(z: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    r"""Inverse of :func:`spline`, :math:`y = T^{-1}(z)` and log y', in closed form: t solves a quadratic equation.

    Shapes: as :func:`spline`.

    >>> inverse_spline(torch.tensor([0.5]), torch.zeros(27, 1))[0]  # the identity
    tensor([0.5000])
    """
    shift, log_scale, knots = _parameters(z, values)
    bins = _Bin(knots, knots[1], z)
    # at the ends, where round-off in t would change the slope of all values outside, t is exact
    t = torch.where(z == bins.inside, bins.place(bins.inside - bins.h), (z > bins.inside).to(z.dtype))
    slope = bins.value_and_slope(t)[1]
    u = bins.x + t * bins.width + (z - bins.inside) / slope
    return u * torch.exp(-log_scale) + shift, -slope.log() - log_scale


class _Bin:
    """The bin of each value: its lower knot, width, height, mean slope, and the slopes at its ends.

    ``inside`` is the value, or the end of the knots that is nearest to it.
    """

    def __init__(self, knots: Tensor, coordinate: Tensor, value: Tensor) -> None:
        self.inside = torch.minimum(torch.maximum(value, coordinate[0]), coordinate[-1])
        index = (self.inside >= coordinate[1:-1]).sum(0)  # of the knots inside
        index = index.expand(len(knots), 1, *index.shape)
        knots = knots.expand(*knots.shape[:2], *value.shape)
        self.x, self.h, self.d = knots.gather(1, index)[:, 0]
        x, h, self.d_next = knots.gather(1, index + 1)[:, 0]
        self.width, self.height = x - self.x, h - self.h
        self.s = self.height / self.width
        self.bend = self.d + self.d_next - 2 * self.s

    def value_and_slope(self, t: Tensor) -> tuple[Tensor, Tensor]:
        rest = t * (1 - t)
        denominator = self.s + self.bend * rest
        z = self.h + self.height * (self.s * t * t + self.d * rest) / denominator
        slope = self.d_next * t * t + 2 * self.s * rest + self.d * (1 - t).square()
        return z, slope * (self.s / denominator).square()

    def place(self, rise: Tensor) -> Tensor:
        """The t at which the spline has risen by ``rise``: the root of a quadratic equation in [0, 1]."""
        a = self.height * (self.s - self.d) + rise * self.bend
        b = self.height * self.d - rise * self.bend
        c = self.s * rise
        root = (b * b + 4 * a * c).clamp(min=0).sqrt()
        upper = b < 0  # the form without cancellation, and no division by zero in the other
        t = torch.where(upper, (root - b) / torch.where(upper, 2 * a, 1), 2 * c / torch.where(upper, 1, b + root))
        return t.clamp(0, 1)


def _parameters(y: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Shift, log-scale and, as ``(3, K + 1, ...)``, positions, heights and slopes of the knots."""
    bins = (len(values) - 3) // 3
    shift, scale, widths, heights, slopes = values.split([1, 1, bins, bins, bins + 1])
    shares = torch.softmax(torch.stack([widths, heights]), dim=1) * (1 - bins * MIN_SHARE) + MIN_SHARE
    ends = torch.cat([torch.zeros_like(shares[:, :1]), shares.cumsum(1)], dim=1)
    slopes = F.softplus(slopes + SLOPE_OFFSET) + MIN_SLOPE
    log_scale = soft_clamp(scale[0], LOG_SCALE_BOUND)
    return shift[0], log_scale, torch.cat([(2 * ends - 1) * BOUND, slopes[None]])
