"""Spectral normalization of convolutions, and nets as functions of normalized kernels."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_flows.errors import UsageError
from lightning_flows.functional.precision import full_precision

Padding = tuple[int, int, int, int]
"""Zeros on the left, right, top and bottom."""
SLACK = 1.1
"""Slack for the norm of a normalized kernel above ``max_norm``: power iterations approach it from below."""


def bind(net: nn.Module, *, update: bool = False) -> Callable[..., Any]:
    """Return a net as a function whose effective parameters, such as normalized kernels, are evaluated once.

    A net without a ``bind(*, update)`` method is returned unchanged. ``update`` steps power iterations in train mode.
    """
    return net.bind(update=update) if hasattr(net, "bind") else net


class SpectralNorm(nn.Module):
    r"""Scale a convolution's kernel so that its operator norm at the given image size is at most ``max_norm``.

    .. math:: \bar K = \frac{K}{\max(1, \sigma/c) + \epsilon}, \qquad \sigma = \max_{\|x\|=1} \|K \star x\|

    σ comes from a power iteration whose vector is kept between calls, on the operator's smaller side. It is warmed up
    on construction, and steps in train mode if ``update`` is True. A 1x1 kernel acts on each pixel separately,
    so its vector has no spatial axes. The gradient flows through σ.

    Several convolutions of one input may share a kernel: its outputs are split into ``groups``, each normalized
    separately.

    Args:
        kernel: initial kernel ``(groups * C_out, C_in, h, w)``.
        size: height and width of its input images.
        padding: zeros that preserve the size.
        max_norm: c.
        margin: ε.
        num_steps: number of power-iteration steps per update.
    Source: Miyato et al., 2018; Gouk et al., 2018.
    """

    vector: Tensor

    def __init__(
        self,
        kernel: Tensor,
        size: Sequence[int],
        *,
        padding: Padding,
        max_norm: float,
        groups: int = 1,
        margin: float = 1e-5,
        num_steps: int = 1,
        warmup_steps: int = 30,
    ) -> None:
        super().__init__()
        if max_norm <= 0:
            raise UsageError(f"expected a positive max_norm; got {max_norm}")
        self.padding, self.max_norm, self.groups = padding, max_norm, groups
        self.margin, self.num_steps = margin, num_steps
        out_channels, in_channels = kernel.shape[0] // groups, kernel.shape[1]
        self.on_input_side = in_channels <= out_channels
        height, width = (1, 1) if kernel.shape[2:] == (1, 1) else size
        channels = groups * (in_channels if self.on_input_side else out_channels)
        vector = torch.randn(groups, channels // groups * height * width, dtype=kernel.dtype, device=kernel.device)
        vector = vector / torch.linalg.vector_norm(vector, dim=1, keepdim=True)
        self.register_buffer("vector", vector.reshape(1, channels, height, width))
        with torch.no_grad():
            for _ in range(0 if kernel.is_meta else warmup_steps):
                self._step(kernel.detach(), self._image(kernel.detach()))

    def forward(self, kernel: Tensor, *, update: bool = False) -> Tensor:
        """Return the normalized kernel."""
        with full_precision(kernel):
            image = self._image(kernel)
            sigma = torch.linalg.vector_norm(image.reshape(self.groups, -1), dim=1)
            if update and self.training:
                with torch.no_grad():
                    self._step(kernel, image)
                    for _ in range(self.num_steps - 1):
                        self._step(kernel, self._image(kernel))
            scale = 1 / ((sigma / self.max_norm).clamp(min=1) + self.margin)
            return (kernel.reshape(self.groups, -1) * scale[:, None]).reshape(kernel.shape)

    def _image(self, kernel: Tensor) -> Tensor:
        """Apply the operator, or its adjoint, to the stored unit vector; the norm of the image estimates σ."""
        return self._convolve(kernel, self.vector) if self.on_input_side else self._adjoint(kernel, self.vector)

    def _step(self, kernel: Tensor, image: Tensor) -> None:
        back = self._adjoint(kernel, image) if self.on_input_side else self._convolve(kernel, image)
        by_group, before = back.reshape(self.groups, -1), self.vector.reshape(self.groups, -1)
        norm = torch.linalg.vector_norm(by_group, dim=1, keepdim=True)
        step = torch.where(norm > 0, by_group / norm, before)  # a kernel of zeros has no direction
        self.vector = step.reshape(back.shape)  # never changed in place: graphs and recomputations hold the old one

    def _convolve(self, kernel: Tensor, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, self.padding), kernel, groups=self.groups)

    def _adjoint(self, kernel: Tensor, y: Tensor) -> Tensor:
        x = F.conv_transpose2d(y, kernel, groups=self.groups)
        left, _, top, _ = self.padding
        return x[:, :, top : top + y.shape[2], left : left + y.shape[3]]

    def extra_repr(self) -> str:
        return f"max_norm={self.max_norm}" + (f", groups={self.groups}" if self.groups > 1 else "")


class NormalizedConv2d(nn.Module):
    """Convolution whose kernel, initially ``weight``, is masked and normalized: the effective one is ``kernel()``.

    Shapes: x ``(B, C_in, H, W)``; returns ``(B, C_out, H, W)``.
    Args: ``mask`` of the weight's shape; ``max_norm`` None for no normalization; for the other arguments see
    SpectralNorm.
    """

    mask: Tensor | None

    def __init__(
        self,
        weight: Tensor,
        size: Sequence[int],
        *,
        padding: Padding,
        max_norm: float | None,
        mask: Tensor | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(torch.zeros(len(weight)))
        self.register_buffer("mask", mask, persistent=False)  # determined by the shape: not needed in a checkpoint
        self.padding, self.spectral_norm = padding, None
        if max_norm is not None:
            self.spectral_norm = SpectralNorm(self.kernel(), size, padding=padding, max_norm=max_norm, **options)

    def kernel(self, *, update: bool = False) -> Tensor:
        """Return the masked and normalized kernel; ``update`` steps the power iteration in train mode."""
        kernel = self.weight if self.mask is None else self.weight * self.mask
        return kernel if self.spectral_norm is None else self.spectral_norm(kernel, update=update)

    def bind(self, *, update: bool = False) -> Callable[[Tensor], Tensor]:
        """Return the convolution as a function whose kernel is evaluated once."""
        kernel = self.kernel(update=update).contiguous(memory_format=torch.channels_last)
        if len(set(self.padding)) == 1:
            return lambda x: F.conv2d(x, kernel, self.bias, padding=self.padding[0])
        return lambda x: F.conv2d(F.pad(x, self.padding), kernel, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.bind(update=True)(x)

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}"


def default_kernel(out_channels: int, in_channels: int, *kernel_size: int) -> Tensor:
    """Draw a kernel uniform in ±1/√fan-in, like torch's convolutions: ``(out_channels, in_channels, *kernel_size)``."""
    bound = 1 / math.sqrt(in_channels * math.prod(kernel_size))
    return nn.init.uniform_(torch.empty(out_channels, in_channels, *kernel_size), -bound, bound)
