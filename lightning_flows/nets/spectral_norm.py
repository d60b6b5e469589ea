"""Spectral normalization of convolutions, and nets as functions of normalized kernels."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_flows.errors import check_positive
from lightning_flows.functional.advanced import is_advanced
from lightning_flows.functional.precision import full_precision
from lightning_flows.nets.packing import Packing
from lightning_flows.nets.power_iteration import Normalization, normalize

Padding = tuple[int, int, int, int]
"""Zeros on the left, right, top and bottom."""

SLACK = 1.1
"""Slack for the norm of a normalized kernel above ``max_norm``: power iterations approach it from below."""
NUM_REFRESH_STEPS = 12
"""Steps from the stored vector where it is used without an update: it may be older than the weights, or an average."""
FRESH = 0.005
"""Relative growth of the squared norm in the first of them up to which the others are omitted."""
INSIGNIFICANT = 0.04
"""Relative growth of the squared norm in all of them up to which the stored vector itself is used."""


def bind(net: nn.Module, *, update: bool = False) -> Callable[..., Any]:
    """Return a net as a function whose effective parameters, such as normalized kernels, are evaluated once.

    A net without a ``bind(*, update)`` method is returned unchanged. ``update`` steps power iterations in train mode.

    >>> layer = NormalizedConv2d(torch.randn(3, 3, 1, 1), (8, 8), padding=(0, 0, 0, 0), max_norm=0.9).eval()
    >>> function, x = bind(layer), torch.randn(2, 3, 8, 8)
    >>> torch.equal(function(x), layer(x)), bind(torch.nn.ReLU())
    (True, ReLU())
    """
    return net.bind(update=update) if hasattr(net, "bind") else net


class SpectralNorm(nn.Module):
    r"""Scale a convolution's kernel so that its operator norm at the given image size is at most ``max_norm``.

    .. math:: \bar K = \frac{K}{\max(1, \sigma/c) + \epsilon}, \qquad \sigma = \max_{\|x\|=1} \|K \star x\|

    σ comes from a power iteration whose vector is kept between calls, on the operator's smaller side. It is warmed up
    on construction. If ``update`` is True it is advanced in train mode, by the norm itself or, within a forward of the
    :class:`Compose` that has ``adopted`` it, together with those of other layers. Otherwise it may be older than the
    weights, or an average: if a few steps from it raise the norm they are taken, and the result is not stored. An
    update replaces the vector and never changes it in place: graphs and recomputations hold the old one. The gradient
    flows through σ.

    Several convolutions of one input may share a kernel: its outputs are split into ``groups``, each normalized
    separately.

    Args:
        weight: initial weights as ``packing`` stores them, masked; by default a kernel ``(C_out, C_in, h, w)``.
        size: height and width of its input images, which the convolution preserves.
        max_norm: c.
        margin: ε.
        num_steps: number of power-iteration steps per update.

    Shapes: weight and result as stored by ``packing``.
    Source: Miyato et al., 2018; Gouk et al., 2018.

    >>> packing = Packing((2, 2, 1, 1))
    >>> weight = packing.pack(torch.tensor([[10.0, 0.0], [0.0, 1.0]]).reshape(2, 2, 1, 1))
    >>> norm = SpectralNorm(weight, (8, 8), packing=packing, max_norm=0.9)
    >>> packing.unpack(norm(weight)).flatten().round(decimals=3)
    tensor([0.9000, 0.0000, 0.0000, 0.0900])
    """

    vector: Tensor

    def __init__(
        self,
        weight: Tensor,
        size: Sequence[int],
        *,
        packing: Packing,
        max_norm: float,
        groups: int = 1,
        margin: float = 1e-5,
        num_steps: int = 1,
        warmup_steps: int = 30,
    ) -> None:
        super().__init__()
        check_positive(max_norm=max_norm)
        out_channels, in_channels, *kernel_size = packing.shape
        on_input_side = in_channels <= out_channels // groups
        self.constants = Normalization(packing, on_input_side, groups, max_norm, margin)
        self.num_steps, self.adopted = num_steps, False
        height, width = (1, 1) if kernel_size == [1, 1] else size
        channels = groups * in_channels if on_input_side else out_channels
        vector = torch.randn(1, channels, height, width, dtype=weight.dtype, device=weight.device)
        self.register_buffer("vector", self.constants.unit(vector, vector))
        if not weight.is_meta:
            self.vector = self._stepped(weight, warmup_steps)

    @property
    def groups(self) -> int:
        """Number of groups of outputs that are normalized separately."""
        return self.constants.groups

    @property
    def max_norm(self) -> float:
        """Largest norm c."""
        return self.constants.max_norm

    def forward(self, weight: Tensor, mask: Tensor | None = None, *, update: bool = False) -> Tensor:
        """Return the masked and normalized weights, stored as they were given."""
        if not (update and self.training):
            vector = self._refreshed(weight, mask)
        else:
            # compiled code cannot read the context, and always evaluates the composition
            if not (self.adopted and (torch.compiler.is_compiling() or is_advanced())):
                self.vector = self._stepped(weight if mask is None else weight * mask, self.num_steps)
            vector = self.vector
        return normalize(weight, mask, vector, self.constants)

    @torch.no_grad()
    def _stepped(self, masked: Tensor, num_steps: int) -> Tensor:
        """The vector after some steps of the power iteration."""
        with full_precision(masked):
            return self.constants.iterate(self.constants.matrix(masked.detach()), self.vector, num_steps)

    @torch.no_grad()
    def _refreshed(self, weight: Tensor, mask: Tensor | None) -> Tensor:
        """The stored vector, where steps from it raise the norm only insignificantly; else the vector after them."""
        constants = self.constants
        with full_precision(weight):
            matrix = constants.matrix((weight if mask is None else weight * mask).detach())
            # an average may be zero; any direction that is not special will do then
            start = torch.cos(torch.arange(self.vector.numel(), dtype=weight.dtype, device=weight.device).square())
            stored = vector = constants.unit(self.vector, constants.unit(start, start))
            power = constants.power(matrix, vector)
            before = (stored * power).reshape(self.groups, -1).sum(1)  # ‖Kv‖²
            growth = torch.linalg.vector_norm(power.reshape(self.groups, -1), dim=1)
            # a singular vector does not grow; reading that is cheaper than further steps
            if not torch.compiler.is_compiling() and not stored.is_meta and not (growth > (1 + FRESH) * before).any():
                return stored
            if is_gram := matrix.shape[1] < matrix.shape[2]:
                matrix = matrix @ matrix.mT  # once for all steps
            for _ in range(NUM_REFRESH_STEPS - 1):
                vector = constants.unit(power, vector)
                power = constants.power(matrix, vector, is_gram=is_gram)
            after = torch.linalg.vector_norm(power.reshape(self.groups, -1), dim=1)
            vector = constants.unit(power, vector)
            stale = (after > (1 + INSIGNIFICANT) * before)[:, None]
            by_group = vector.reshape(self.groups, -1)
            return torch.where(stale, by_group, stored.reshape(self.groups, -1)).reshape(vector.shape)

    def extra_repr(self) -> str:
        return f"max_norm={self.max_norm}" + (f", groups={self.groups}" if self.groups > 1 else "")


class NormalizedConv2d(nn.Module):
    r"""Convolution whose kernel, initially ``kernel``, is masked and normalized: the effective one is ``kernel()``:
    :math:`y = \bar K \star x + b`, with :math:`\bar K` of SpectralNorm.

    Shapes: x ``(B, C_in, H, W)``; returns ``(B, C_out, H, W)``.
    Args: ``mask`` of the kernel's shape; ``max_norm`` None for no normalization; ``packing`` is how ``weight`` stores
    the kernel; for the other arguments see SpectralNorm.

    >>> layer = NormalizedConv2d(torch.ones(1, 1, 3, 3), (8, 8), padding=(1, 1, 1, 1), max_norm=0.9)
    >>> layer(torch.ones(2, 1, 8, 8)).shape, bool(layer.kernel().sum() < 1)  # the sum was 9
    (torch.Size([2, 1, 8, 8]), True)
    """

    mask: Tensor | None

    def __init__(
        self,
        kernel: Tensor,
        size: Sequence[int],
        *,
        padding: Padding,
        max_norm: float | None,
        mask: Tensor | None = None,
        packing: Packing | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.packing, self.padding, self.spectral_norm = packing or Packing(tuple(kernel.shape)), padding, None
        self.weight = nn.Parameter(self.packing.pack(kernel).contiguous())
        self.bias = nn.Parameter(torch.zeros(len(kernel)))
        # of the kernel's dtype: multiplication by booleans is slow
        mask = None if mask is None else self.packing.pack(mask).to(kernel.dtype).contiguous()
        self.register_buffer("mask", mask, persistent=False)  # determined by the shape: not needed in a checkpoint
        if max_norm is not None:
            self.spectral_norm = SpectralNorm(
                self.masked_weight(), size, packing=self.packing, max_norm=max_norm, **options
            )

    def masked_weight(self) -> Tensor:
        """Return the masked weights before their normalization, as they are stored."""
        return self.weight if self.mask is None else self.weight * self.mask

    def dense_weight(self) -> Tensor:
        """Return the masked kernel before its normalization: ``(C_out, C_in, h, w)``."""
        return self.packing.unpack(self.masked_weight())

    @torch.no_grad()
    def load_dense_weight(self, kernel: Tensor) -> None:
        """Set the weights to those of a kernel ``(C_out, C_in, h, w)``; masked ones do not matter."""
        self.weight.copy_(self.packing.pack(kernel))

    def kernel(self, *, update: bool = False) -> Tensor:
        """Return the masked and normalized kernel; ``update`` steps the power iteration in train mode."""
        return self.packing.unpack(self.effective_weight(update=update))

    def effective_weight(self, *, update: bool = False) -> Tensor:
        """Return the masked and normalized weights as they are stored; ``update`` as in :meth:`kernel`."""
        if self.spectral_norm is None:
            return self.masked_weight()
        return self.spectral_norm(self.weight, self.mask, update=update)

    def bind(self, *, update: bool = False) -> Callable[[Tensor], Tensor]:
        """Return the convolution as a function whose kernel is evaluated once."""
        kernel = self.kernel(update=update).contiguous(memory_format=torch.channels_last)
        if len(set(self.padding)) == 1:
            return lambda x: F.conv2d(x, kernel, self.bias, padding=self.padding[0])
        return lambda x: F.conv2d(F.pad(x, self.padding), kernel, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.bind(update=True)(x)

    def extra_repr(self) -> str:
        return f"{self.packing.shape}"


def default_kernel(out_channels: int, in_channels: int, *kernel_size: int) -> Tensor:
    """Draw a kernel uniform in ±1/√fan-in, like torch's convolutions: ``(out_channels, in_channels, *kernel_size)``."""
    bound = 1 / math.sqrt(in_channels * math.prod(kernel_size))
    return nn.init.uniform_(torch.empty(out_channels, in_channels, *kernel_size), -bound, bound)
