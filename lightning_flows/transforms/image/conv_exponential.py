"""The convolution exponential."""

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from lightning_flows.errors import UsageError, check_sizes
from lightning_flows.functional.conv_exponential import conv_exponential
from lightning_flows.functional.convolution import dense_kernel
from lightning_flows.functional.shapes import image_shape
from lightning_flows.nets.packing import Packing
from lightning_flows.nets.spectral_norm import SLACK, SpectralNorm
from lightning_flows.transforms.linear import LinearOperator, LinearTransform

MAX_VALUES = 256
"""Largest number of values C·H·W for which a convolution is evaluated as one matrix product, if H·W ≤ 2k²."""


class ConvExponential(LinearTransform):
    r"""Exponential of a zero-padded convolution with kernel m.

    .. math:: z = m \star_e x = \sum_{i \ge 0} \frac{m \star^i x}{i!}, \qquad \log|\det J| = HW \sum_c m_{c,c,0,0}

    The inverse is the exponential of −m. Spectral normalization keeps the kernel's operator norm below ``max_norm``,
    which determines the number of terms for the round-off of x's dtype (9 in float32, 17 in float64), in training and
    evaluation. ``num_terms`` overrides it. For small images, each term is one matrix product.

    Shapes: x, z ``(B, *event_shape)`` with event_shape (C, H, W).
    Raises: UsageError for an even ``kernel_size``, a ``max_norm`` that is not positive, or ``num_terms`` below 1.
    Source: section 3 of the paper.

    >>> layer = ConvExponential((3, 8, 8)).eval()
    >>> z, log_det = layer(torch.randn(2, 3, 8, 8))
    >>> torch.allclose(log_det, 8 * 8 * layer.kernel()[:, :, 1, 1].trace(), atol=1e-4)
    True
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        kernel_size: int = 3,
        max_norm: float = 0.95,
        num_terms: int | None = None,
    ) -> None:
        channels, *size = image_shape(event_shape)
        if kernel_size % 2 != 1 or kernel_size < 1:
            raise UsageError(f"expected an odd kernel size; got {kernel_size}")
        if num_terms is not None:
            check_sizes(num_terms=num_terms)
        super().__init__(event_shape)
        self.max_norm, self.num_terms = max_norm, num_terms
        self.center, fan_in = kernel_size // 2, channels * kernel_size**2
        # unusually small, so that the layer starts near the identity (section 6)
        self.weight = nn.Parameter(torch.randn(channels, channels, kernel_size, kernel_size) / fan_in)
        self.packing = Packing(tuple(self.weight.shape))
        self.spectral_norm = SpectralNorm(self.masked_weight(), size, packing=self.packing, max_norm=max_norm)

    def kernel(self, *, update: bool = False) -> Tensor:
        """Return the normalized kernel m; ``update`` steps the power iteration in train mode."""
        return self.packing.unpack(self.spectral_norm(self.masked_weight(), update=update))

    def masked_weight(self) -> Tensor:
        """Return the kernel before its normalization, as its spectral norm stores it."""
        return self.packing.pack(self.weight)

    def operator(self, *, update: bool = False) -> LinearOperator:
        kernel, shape = self.kernel(update=update), cast(tuple[int, int, int], self.event_shape)
        is_small = math.prod(shape[1:]) <= 2 * kernel.shape[-1] ** 2 and math.prod(shape) <= MAX_VALUES
        matrix = dense_kernel(kernel, shape[1:]) if is_small else kernel

        def exponential(x: Tensor, scale: float = 1.0) -> Tensor:
            pixels, bound = x.flatten(1)[..., None, None] if is_small else x, SLACK * self.max_norm
            return conv_exponential(matrix, pixels, norm_bound=bound, num_terms=self.num_terms, scale=scale).view_as(x)

        return LinearOperator(
            exponential,
            lambda z: exponential(z, scale=-1.0),
            lambda x: x.shape[2] * x.shape[3] * kernel[:, :, self.center, self.center].diagonal().sum(),
        )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, kernel_size={self.weight.shape[-1]}"
