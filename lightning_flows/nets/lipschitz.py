"""Networks whose Lipschitz constant is below one."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_flows.errors import UsageError, check_sizes
from lightning_flows.functional.convolution import adjoint_kernel, convolve, convolve_backward
from lightning_flows.functional.shapes import image_shape
from lightning_flows.nets.linearization import Linearization
from lightning_flows.nets.spectral_norm import NormalizedConv2d, default_kernel

STEEPEST = 1.1
"""Largest slope of y σ(sy), rounded up."""


class LipSwish(nn.Module):
    r"""Swish with slope at most one: :math:`f(y) = y\,\sigma(sy)/1.1`, with :math:`s = \operatorname{softplus}\beta`.

    Its derivatives are explicit, so that a graph of derivatives saves only y. Source: Chen et al., 2019.
    """

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.tensor([0.5]))

    def forward(self, y: Tensor) -> Tensor:
        s = F.softplus(self.beta)
        return (y * torch.sigmoid(s * y) if torch.compiler.is_compiling() else _Swish.apply(y, s)) / STEEPEST


class _Swish(torch.autograd.Function):
    """y σ(sy); s is a scalar."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, s: Tensor) -> Tensor:
        ctx.save_for_backward(y, s)
        return y * torch.sigmoid(s * y)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        return _SwishBackward.apply(grads[0], *ctx.saved_tensors)


class _SwishBackward(torch.autograd.Function):
    """g ∂/∂y and Σ g ∂/∂s of y σ(sy), for an incoming gradient g."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, y: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(g, y, s)
        sigma = torch.sigmoid(s * y)
        bend = y * sigma * (1 - sigma)
        return g * (sigma + s * bend), (g * y * bend).sum().reshape(s.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        g, y, s = ctx.saved_tensors
        of_y, of_s = grads
        sigma = torch.sigmoid(s * y)
        slope = sigma * (1 - sigma)
        curve = slope * (2 + s * y * (1 - 2 * sigma))  # ∂²/∂y² is s times this, ∂²/∂y∂s is y times this
        of_g = of_y * (sigma + s * y * slope) + of_s * y * y * slope
        of_y2 = g * curve * (of_y * s + of_s * y)
        of_s2 = (g * y * (of_y * curve + of_s * y * y * slope * (1 - 2 * sigma))).sum().reshape(s.shape)
        return of_g, of_y2, of_s2


class _SwishConv(torch.autograd.Function):
    """K ⋆ y σ(sy) + b of a square, centered kernel, and the slope of yσ(sy), which has no gradient."""

    generate_vmap_rule = True

    @staticmethod
    def forward(y: Tensor, s: Tensor, kernel: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        sigma = (s * y).sigmoid_()
        value = y * sigma
        result = convolve(value, kernel, bias)
        return result, sigma.addcmul_(value.addcmul_(value, sigma, value=-1), s)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        y, s, kernel, _ = inputs
        ctx.save_for_backward(y, s, kernel)
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        if grads[0] is None:
            return None, None, None, None
        y, s, kernel = ctx.saved_tensors
        sigma = torch.sigmoid(s * y)
        value = y * sigma
        of_value, of_kernel, of_bias = convolve_backward(grads[0], value, kernel, wanted=(True, True, True))
        bend = _add_product(value, value, sigma, -1)
        slope = _add_product(sigma, bend, s)
        of_s = _product(_product(bend, y), of_value).sum().reshape(s.shape)
        return _product(of_value, slope), of_s, of_kernel, of_bias


class _SlopeConv(torch.autograd.Function):
    """K ⋆ dt for a tangent t and the slope d of yσ(sy), which is given to save time in the forward."""

    generate_vmap_rule = True

    @staticmethod
    def forward(y: Tensor, tangent: Tensor, s: Tensor, kernel: Tensor, slope: Tensor) -> Tensor:
        return convolve(slope * tangent, kernel)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:4])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        y, tangent, s, kernel = ctx.saved_tensors
        p = s * y
        sigma = torch.sigmoid(p)
        bend = torch.addcmul(sigma, sigma, sigma, value=-1)
        slope = torch.addcmul(sigma, p, bend)
        of_scaled, of_kernel, _ = convolve_backward(grads[0], slope * tangent, kernel)
        # d = σ(p) + pσ'(p) has the derivative σ'(p)(2 + p − 2pσ(p)) with respect to p = sy
        curve = _product(bend, _add_product(p, p, sigma, -2) + 2)
        of_p = _product(_product(curve, tangent), of_scaled)
        of_y, of_tangent = of_p * s, _product(of_scaled, slope)
        return of_y, of_tangent, _product(of_p, y).sum().reshape(s.shape), of_kernel, None


def _product(a: Tensor, b: Tensor) -> Tensor:
    """ab, in place of ``a`` where no graph may need it: fresh memory of this size is slower than the product."""
    return a * b if torch.is_grad_enabled() else a.mul_(b)


def _add_product(a: Tensor, b: Tensor, c: Tensor, scale: float = 1) -> Tensor:
    """a + scale · bc, in place of ``a`` as in :func:`_product`."""
    return torch.addcmul(a, b, c, value=scale) if torch.is_grad_enabled() else a.addcmul_(b, c, value=scale)


class BoundNet(NamedTuple):
    """A :class:`LipschitzConvNet` as a function whose kernels are evaluated once."""

    kernels: Sequence[Tensor]
    biases: Sequence[Tensor]
    swishes: Sequence[LipSwish]

    def __call__(self, x: Tensor) -> Tensor:
        h = self._first(x)
        for kernel, bias, swish in zip(self.kernels[1:], self.biases[1:], self.swishes, strict=True):
            h = convolve(swish(h), kernel, bias)
        return h.to(x.dtype)

    def linearize(self, x: Tensor) -> Linearization:
        """The net at x, with products that need no graph of its evaluation.

        The graph of g(x) and sᵀJv keeps the inputs of each LipSwish and their tangents, nothing else.
        """
        h, layers, slopes = self._first(x), [], []
        for kernel, bias, swish in zip(self.kernels[1:], self.biases[1:], self.swishes, strict=True):
            layer = h, F.softplus(swish.beta), kernel / STEEPEST
            h, slope = _SwishConv.apply(*layer, bias)
            layers.append(layer)
            slopes.append(slope)
        first = self.kernels[0]
        with torch.no_grad():
            adjoints = [adjoint_kernel(kernel) for kernel in (first, *(kernel for *_, kernel in layers))]

        @torch.no_grad()
        def pull(v: Tensor) -> Tensor:
            for adjoint, slope in zip(adjoints[:0:-1], slopes[::-1], strict=True):
                v = convolve(v, adjoint).mul_(slope)
            return convolve(v, adjoints[0])

        def product(s: Tensor, v: Tensor) -> Tensor:
            tangent = convolve(v, first)
            for (y, scale, kernel), slope in zip(layers, slopes, strict=True):
                tangent = _SlopeConv.apply(y, tangent, scale, kernel, slope)
            return s * tangent

        return Linearization(h.to(x.dtype), pull, product)

    def _first(self, x: Tensor) -> Tensor:
        return convolve(x, self.kernels[0], self.biases[0])


class LipschitzConvNet(nn.Sequential):
    r"""3x3, 1x1, 3x3 convolutions with LipSwish between them; a contraction.

    .. math:: \operatorname{Lip}(g) \le \prod_i \|W_i\| \le c^3 < 1

    with c = ``max_norm``. Each forward in train mode takes five steps of each power iteration, which lags behind fast
    weight updates: at a learning rate of 1e-3 the product stays within the margin of 6 % at c = 0.98; at 4e-3 it
    exceeded c³ by 10 %, which requires c ≤ 0.95.

    Shapes: x ``(B, *event_shape)`` with event_shape (C, H, W); returns the same shape and dtype.
    Raises: UsageError unless 0 < c < 1. Source: Behrmann et al., 2019; Chen et al., 2019.

    >>> net = LipschitzConvNet((3, 8, 8), 16, max_norm=0.9).eval()
    >>> x, y = torch.randn(2, 1, 3, 8, 8)
    >>> bool((net(x) - net(y)).norm() <= 0.9**3 * (x - y).norm())
    True
    """

    def __init__(self, event_shape: Sequence[int], hidden_channels: int, *, max_norm: float = 0.98) -> None:
        if not 0 < max_norm < 1:
            raise UsageError(f"expected max_norm between 0 and 1; got {max_norm}")
        channels, *size = image_shape(event_shape)
        check_sizes(hidden_channels=hidden_channels)

        def conv(in_channels: int, out_channels: int, kernel_size: int) -> NormalizedConv2d:
            kernel, side = default_kernel(out_channels, in_channels, kernel_size, kernel_size), kernel_size // 2
            return NormalizedConv2d(kernel, size, padding=(side,) * 4, max_norm=max_norm, margin=0.0, num_steps=5)

        super().__init__(
            conv(channels, hidden_channels, 3),
            LipSwish(),
            conv(hidden_channels, hidden_channels, 1),
            LipSwish(),
            conv(hidden_channels, channels, 3),
        )

    def bind(self, *, update: bool = False) -> BoundNet:
        """Return the net as a function whose kernels are evaluated once."""
        convs = [layer for layer in self if isinstance(layer, NormalizedConv2d)]
        swishes = [layer for layer in self if isinstance(layer, LipSwish)]
        kernels = [conv.kernel(update=update).contiguous(memory_format=torch.channels_last) for conv in convs]
        return BoundNet(kernels, [conv.bias for conv in convs], swishes)

    def forward(self, x: Tensor) -> Tensor:
        return self.bind(update=True)(x)
