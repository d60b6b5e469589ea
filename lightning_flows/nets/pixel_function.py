"""The function of a Sylvester layer that is autoregressive over pixels."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lightning_flows.errors import check_sizes
from lightning_flows.functional.fixed_point import Direct, InverseReport, Solution
from lightning_flows.functional.precision import full_precision, is_autocast, is_reduced
from lightning_flows.functional.shapes import image_shape
from lightning_flows.functional.value_maps import ValueMap
from lightning_flows.nets.attention import AttentionSizes
from lightning_flows.nets.gated_net import Pair
from lightning_flows.nets.pixel_heads import LinearHead, MaskedHead
from lightning_flows.nets.pixel_transformer import PixelTransformer


class PixelFunction(nn.Module):
    r"""Monotone maps of values whose parameters depend on earlier pixels, as the function of a Sylvester layer.

    .. math:: f(y)_p = T_p(y_p - \text{prediction}_p;\, \text{output}_p) - y_p

    Outputs and predictions are those of a :class:`PixelTransformer`, which depend on pixels of earlier fronts. T_p maps
    the channels of pixel p, each depending on the lower ones as well: a :class:`LinearHead` or, with a width for it, a
    :class:`MaskedHead`. The diagonal of the Jacobian is T' − 1. The solver inverts one front of pixels after another,
    at the cost of one pass of the net and of a masked head.

    Shapes: y ``(B, C, H, W)``; returns f(y) and the diagonal, of y's shape.
    Args: ``value_map`` and ``components`` choose the map of a value, see :func:`apply_map`; ``head_width`` is the width
    of the masked head, 0 for the linear one; ``window`` and ``sizes`` are those of the :class:`PixelTransformer`.

    >>> function = PixelFunction((2, 4, 4), AttentionSizes(width=8, num_blocks=1, num_heads=2), window=3)
    >>> f, diagonal = function(torch.randn(3, 2, 4, 4))
    >>> f.shape, bool((diagonal > -1).all())  # y + f(y) increases in y
    (torch.Size([3, 2, 4, 4]), True)
    """

    needs_solver = True
    """Steep maps are inverted exactly on all devices; a fixed-point iteration might take a step for each value."""

    def __init__(
        self,
        event_shape: Sequence[int],
        sizes: AttentionSizes = AttentionSizes(),
        *,
        value_map: ValueMap = "mixture",
        components: int = 8,
        head_width: int = 0,
        window: int = 5,
    ) -> None:
        super().__init__()
        check_sizes(0, head_width=head_width)
        channels, *_ = image_shape(event_shape)
        self.head: LinearHead | MaskedHead = (
            MaskedHead(channels, head_width, value_map, components)
            if head_width
            else LinearHead(channels, value_map, components)
        )
        self.net = PixelTransformer(event_shape, self.head.num_inputs, sizes, window=window)
        with torch.no_grad():
            self.net.out.bias.copy_(self.head.initial_outputs())

    def bind(self, *, update: bool = False) -> Callable[[Tensor], Pair]:
        """Return the function."""
        return self._of

    def bind_with_solver(self) -> tuple[Callable[[Tensor], Pair], Direct]:
        """As :meth:`bind`, with a solver of y + f(y) = v."""
        return self._of, self._solve

    def forward(self, y: Tensor) -> Pair:
        return self._of(y)

    def _of(self, y: Tensor) -> Pair:
        outputs, predictions = self.net(y)
        with full_precision(y):
            z, log_slope = self.head(y.flatten(2).mT - predictions, outputs.to(y.dtype))
            return z.mT.unflatten(2, y.shape[2:]) - y, log_slope.mT.unflatten(2, y.shape[2:]).exp() - 1

    @torch.no_grad()
    def _solve(self, v: Tensor, tol: Tensor, excused: Tensor, start: Tensor | None) -> Solution:
        self.net.check(v)
        if is_autocast(v.device.type) or is_reduced(v.device.type):
            y = self._repeated(v)
            f, diagonal = self._of(y)
        else:
            y, z, log_slope = self._by_fronts(v)
            f, diagonal = z - y, log_slope.exp() - 1
        residual = (y + f - v).abs().flatten(1).amax(1) / v.abs().flatten(1).amax(1).clamp(min=1)
        return Solution(y, f, diagonal, InverseReport(torch.ones_like(residual, dtype=torch.long), residual))

    def _by_fronts(self, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """y, and y + f(y) and log T' from the same outputs of the net: their residual is that of T alone."""
        z, log_slope, inverse = torch.empty_like(v), torch.empty_like(v), self.head.bind_inverse()

        def solve_pixels(rows: Tensor, columns: Tensor, outputs: Tensor, predictions: Tensor) -> Tensor:
            pixels, again, slopes = inverse(v[:, :, rows, columns].mT, outputs, predictions)
            z[:, :, rows, columns], log_slope[:, :, rows, columns] = again.mT, slopes.mT
            return pixels

        return self.net.solve(len(v), solve_pixels), z, log_slope

    def _repeated(self, v: Tensor) -> Tensor:
        """Solve by passes of the whole net, which rounds in reduced precision as the forward map does.

        Each pass finds at least one more front of pixels, because the pixels before it no longer change.
        """
        y, pixels = torch.zeros_like(v), v.flatten(2).mT
        with full_precision(v):
            inverse = self.head.bind_inverse()
        for _ in self.net.front_sizes:
            outputs, predictions = self.net(y)
            with full_precision(v):
                found, *_ = inverse(pixels, outputs.to(v.dtype), predictions)
                y, last = found.mT.unflatten(2, v.shape[2:]), y
            if torch.equal(y, last):
                break
        return y
