"""Uniform dequantization."""

from torch import Tensor

from lightning_flows.dequantization.base import Dequantization


class UniformDequantization(Dequantization):
    r"""u uniform on [0, 1), so that :math:`\log q(u \mid x) = 0`. Source: Theis, van den Oord and Bethge, 2016.

    For shapes see :class:`Dequantization`.

    >>> UniformDequantization((3, 32, 32))
    UniformDequantization((3, 32, 32))
    """

    def transform(self, noise: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return noise, noise.new_zeros(len(noise))
