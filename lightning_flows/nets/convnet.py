"""Conditioner nets: plain, dense and fully connected, and the encoder of a context."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_flows.errors import ShapeError, UsageError, check_sizes


def zero_initialized(layer: nn.Module) -> nn.Module:
    """Set weight and bias to zero, so that a transform conditioned by this last layer is initially the identity."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def _check_channels(in_channels: int, out_channels: int, context_channels: int) -> None:
    check_sizes(in_channels=in_channels, out_channels=out_channels)
    check_sizes(0, context_channels=context_channels)


def with_context(x: Tensor, context: Tensor | None, channels: int) -> Tensor:
    """Concatenate x ``(B, C, H, W)`` and a context ``(B, channels, H, W)``, or None if it has no channels.

    Raises: ShapeError if the context has a different shape, is missing, or is passed to a net without context.
    """
    expected = (x.shape[0], channels, *x.shape[2:])
    if context is None and channels == 0:
        return x
    if context is None or channels == 0 or context.shape != expected:
        got = "none" if context is None else f"shape {tuple(context.shape)}"
        raise ShapeError(f"expected {f'a context of shape {expected}' if channels else 'no context'}; got {got}")
    return torch.cat([x, context], dim=1)


class ConvNet(nn.Sequential):
    r"""3x3, 1x1, 3x3 convolutions with ReLU; the last is initialized to zero, so that a coupling is the identity.

    .. math:: y = K_3 \star \operatorname{relu}\big(K_2 \star \operatorname{relu}(K_1 \star (x, \text{context}))\big)

    Shapes: x ``(B, in_channels, H, W)``, context ``(B, context_channels, H, W)`` or None; returns
    ``(B, out_channels, H, W)`` in x's dtype. Raises: ShapeError if the context does not match.

    >>> net = ConvNet(2, 4, hidden_channels=8, context_channels=3)
    >>> net(torch.randn(5, 2, 8, 8), torch.randn(5, 3, 8, 8)).shape
    torch.Size([5, 4, 8, 8])
    """

    def __init__(self, in_channels: int, out_channels: int, *, hidden_channels: int, context_channels: int = 0) -> None:
        _check_channels(in_channels, out_channels, context_channels)
        check_sizes(hidden_channels=hidden_channels)
        super().__init__(
            nn.Conv2d(in_channels + context_channels, hidden_channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden_channels, hidden_channels, 1),
            nn.ReLU(),
            zero_initialized(nn.Conv2d(hidden_channels, out_channels, 3, padding=1)),
        )
        self.context_channels = context_channels

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return super().forward(with_context(x, context, self.context_channels)).to(x.dtype)


@dataclass(frozen=True)
class DenseSizes:
    """Sizes of a dense net.

    Args:
        width: channels between its blocks.
        depth: layers of each block.
        growth: channels that each layer appends.
        kernel_size: side of the kernel of each layer, odd; 1 for nets that see single pixels.

    Raises: UsageError for sizes of no net.

    >>> num_values = lambda net: sum(p.numel() for p in net.parameters())
    >>> [num_values(DenseNet(4, 8, DenseSizes(width=16, depth=2, growth=growth))) for growth in (8, 16)]
    [5568, 10840]
    """

    width: int = 64
    depth: int = 8
    growth: int = 63
    kernel_size: int = 3

    def __post_init__(self) -> None:
        check_sizes(width=self.width, growth=self.growth, kernel_size=self.kernel_size)
        check_sizes(0, depth=self.depth)
        if self.kernel_size % 2 == 0:
            raise UsageError(f"expected an odd kernel_size; got {self.kernel_size}")


class DenseBlock(nn.Module):
    r"""Layers that take the outputs of all previous layers, then a 1x1 convolution with an optional gate.

    .. math:: x_{i+1} = \big(x_i,\, \operatorname{relu}(K_i \star \operatorname{relu}(W_i x_i))\big), \qquad
              (a, b, c) = V x_n, \qquad y = a + b\,\sigma(c)

    A layer is a 1x1 convolution, ReLU, a 3x3 convolution (or ``sizes.kernel_size``), ReLU; its output is appended to
    its input. The gate splits the last convolution's output into a, b and c; without one, it is y itself.

    Shapes: x ``(B, in_channels, H, W)``; returns ``(B, out_channels, H, W)``. Source: Huang et al., DenseNet, 2017.

    >>> DenseBlock(4, 6, DenseSizes(width=16, depth=2, growth=8))(torch.randn(2, 4, 8, 8)).shape
    torch.Size([2, 6, 8, 8])
    """

    def __init__(self, in_channels: int, out_channels: int, sizes: DenseSizes, *, gated: bool = True) -> None:
        super().__init__()
        widths = [in_channels + i * sizes.growth for i in range(sizes.depth + 1)]
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(n, n, 1),
                nn.ReLU(inplace=True),
                nn.Conv2d(n, sizes.growth, sizes.kernel_size, padding=sizes.kernel_size // 2),
                nn.ReLU(inplace=True),
            )
            for n in widths[:-1]
        )
        self.gated = gated
        self.last = nn.Conv2d(widths[-1], (3 if gated else 1) * out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self._evaluate(x, [conv.weight for conv in self._pointwise()])

    def after(self, first: nn.Conv2d, x: Tensor) -> Tensor:
        r"""Return h + block(h) for :math:`h = Ax + b` of a 1x1 convolution with fewer channels than h.

        h is not evaluated: a 1x1 kernel :math:`(U, V)` on (h, further channels) is :math:`(U(A, b), V)` on
        (x, 1, further channels), with fewer multiplications and less memory.
        """
        pointwise, width = self._pointwise(), first.out_channels
        affine = torch.cat([first.weight, cast(Tensor, first.bias)[:, None, None, None]], dim=1)
        parts = [conv.weight.split([width, conv.in_channels - width], dim=1) for conv in pointwise]
        on_h, further = map(list, zip(*parts, strict=True))
        identity = torch.eye(len(on_h[-1]), width, dtype=affine.dtype, device=affine.device)
        on_h[-1] = on_h[-1] + identity[:, :, None, None]
        on_x = F.conv2d(torch.cat(on_h), affine.transpose(0, 1)).split([conv.out_channels for conv in pointwise])
        kernels = [torch.cat(both, dim=1) for both in zip(on_x, further, strict=True)]
        return self._evaluate(F.pad(x.to(on_x[0].dtype), (0, 0, 0, 0, 0, 1), value=1.0), kernels)

    def _pointwise(self) -> list[nn.Conv2d]:
        return [*(cast(nn.Conv2d, cast(nn.Sequential, layer)[0]) for layer in self.layers), self.last]

    def _evaluate(self, x: Tensor, kernels: Sequence[Tensor]) -> Tensor:
        for layer, kernel in zip(self.layers, kernels[:-1], strict=True):
            pointwise, relu, conv, _ = cast(list[Any], layer)
            x = _AppendReLU.apply(x, conv(relu(F.conv2d(x, kernel, pointwise.bias))))
        x = F.conv2d(x, kernels[-1], self.last.bias)
        if not self.gated:
            return x
        a, b, c = x.chunk(3, dim=1)
        return a + b * torch.sigmoid(c)


class _AppendReLU(torch.autograd.Function):
    """Append relu(h) to the channels of x; keeps only the result, which the next convolution keeps as well."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, h: Tensor) -> Tensor:
        return torch.cat([x, h.relu()], dim=1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.channels = inputs[0].shape[1]
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        (appended,) = ctx.saved_tensors
        of_x, of_h = grads[0].tensor_split([ctx.channels], dim=1)
        return of_x, torch.ops.aten.threshold_backward(of_h, appended[:, ctx.channels :], 0)


class DenseNet(nn.Module):
    r"""1x1 convolution, dense blocks with residual connections, and a 1x1 convolution that is initialized to zero.

    .. math:: h_0 = A\,(x, \text{context}), \qquad h_{i+1} = h_i + D_i(h_i), \qquad y = B h_n

    D are the blocks: see :class:`DenseBlock`.

    Where the first convolution adds channels, it is evaluated within the block that follows, which is linear in them.
    Shapes, errors: as :class:`ConvNet`.

    >>> net = DenseNet(4, 8, DenseSizes(width=16, depth=2, growth=8))
    >>> y = net(torch.randn(2, 4, 8, 8))
    >>> y.shape, y.abs().max().item()  # zero until it is trained
    (torch.Size([2, 8, 8, 8]), 0.0)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        sizes: DenseSizes = DenseSizes(),
        *,
        num_blocks: int = 1,
        gated: bool = True,
        context_channels: int = 0,
    ) -> None:
        super().__init__()
        _check_channels(in_channels, out_channels, context_channels)
        check_sizes(0, num_blocks=num_blocks)
        self.context_channels = context_channels
        self.first = nn.Conv2d(in_channels + context_channels, sizes.width, 1)
        self.blocks = nn.ModuleList(DenseBlock(sizes.width, sizes.width, sizes, gated=gated) for _ in range(num_blocks))
        self.last = zero_initialized(nn.Conv2d(sizes.width, out_channels, 1))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        h, blocks = with_context(x, context, self.context_channels), list(self.blocks)
        composed = len(blocks) > 0 and self.first.in_channels + 1 < self.first.out_channels
        h = cast(DenseBlock, blocks.pop(0)).after(self.first, h) if composed else self.first(h)
        for block in blocks:
            h = h + block(h)
        return self.last(h).to(x.dtype)


class ContextNet(nn.Sequential):
    r"""Encoder of an image as the context of a conditional flow: dense block, 2x2 convolution of stride 2, dense block.

    .. math:: y = D_2\big(S \star D_1(x)\big)

    S is the convolution, and D are the blocks: see :class:`DenseBlock`.

    Shapes: x ``(B, in_channels, H, W)`` with even H and W; returns ``(B, sizes.width, H/2, W/2)`` in x's dtype.

    >>> ContextNet(3, DenseSizes(width=16, depth=2, growth=8))(torch.rand(2, 3, 8, 8)).shape
    torch.Size([2, 16, 4, 4])
    """

    def __init__(self, in_channels: int, sizes: DenseSizes) -> None:
        super().__init__(
            DenseBlock(in_channels, sizes.width, sizes),
            nn.Conv2d(sizes.width, sizes.width, 2, stride=2),
            DenseBlock(sizes.width, sizes.width, sizes),
        )

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).to(x.dtype)


class MLP(nn.Module):
    r"""Linear layers with SiLU between them; the last is initialized to zero, so that a coupling is the identity.

    .. math:: y = W_n\,a(W_{n-1} \cdots a(W_1 x)), \qquad a(v) = v\,\sigma(v)

    Shapes: x ``(B, in_channels, 1, 1)``, as in couplings; returns ``(B, out_channels, 1, 1)`` in x's dtype. ``context``
    is ignored.

    >>> MLP(4, 8, width=16, depth=2)(torch.randn(2, 4, 1, 1)).shape
    torch.Size([2, 8, 1, 1])
    """

    def __init__(self, in_channels: int, out_channels: int, *, width: int, depth: int) -> None:
        super().__init__()
        _check_channels(in_channels, out_channels, 0)
        check_sizes(width=width)
        check_sizes(0, depth=depth)
        widths = [in_channels, *[width] * depth]
        layers = [layer for n, m in itertools.pairwise(widths) for layer in (nn.Linear(n, m), nn.SiLU())]
        self.layers = nn.Sequential(*layers, zero_initialized(nn.Linear(widths[-1], out_channels)))

    def forward(self, x: Tensor, context: Any = None) -> Tensor:
        return self.layers(x.flatten(1))[..., None, None].to(x.dtype)
