"""The function of a Sylvester layer that is autoregressive over pixels."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lightning_flows.functional.fixed_point import Direct, InverseReport, Solution
from lightning_flows.functional.precision import full_precision, is_autocast, is_reduced
from lightning_flows.functional.shapes import image_shape
from lightning_flows.functional.value_maps import ValueMap, apply_map, initial_params, invert_map, num_map_parameters
from lightning_flows.nets.attention import AttentionSizes
from lightning_flows.nets.gated_net import Pair
from lightning_flows.nets.pixel_transformer import PixelTransformer


class PixelFunction(nn.Module):
    r"""Monotone maps of values whose parameters depend on earlier pixels, as the function of a Sylvester layer.

    .. math:: f(y)_{pc} = T\big(y_{pc} - \textstyle\sum_{b<c} l_{pcb}\, y_{pb};\, \theta_{pc}\big) - y_{pc}, \qquad
              (\theta_p, l_p) = \mathrm{net}(y_1, \dots, y_{p-1})_p

    so that y + f(y) is T of each value minus multiples of the lower channels of the same pixel p. The diagonal of the
    Jacobian is T' − 1. The solver inverts pixel by pixel, at the cost of one pass of the net.

    Shapes: y ``(B, C, H, W)``; returns f(y) and the diagonal, of y's shape.
    Args: ``value_map`` and ``components`` choose T, see :func:`apply_map`; ``window`` and ``sizes`` are those of the
    :class:`PixelTransformer`.

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
        window: int = 5,
    ) -> None:
        super().__init__()
        self.channels, *_ = image_shape(event_shape)
        self.value_map = value_map
        self.num_parameters_of_map = num_map_parameters(value_map, components)
        num_maps, num_multiples = self.channels * self.num_parameters_of_map, self.channels * (self.channels - 1) // 2
        self.net = PixelTransformer(event_shape, num_maps + num_multiples, sizes, window=window)
        with torch.no_grad():
            self.net.out.bias[:num_maps] = initial_params(value_map, components).repeat(self.channels)

    def bind(self, *, update: bool = False) -> Callable[[Tensor], Pair]:
        """Return the function."""
        return self._of

    def bind_with_solver(self) -> tuple[Callable[[Tensor], Pair], Direct]:
        """As :meth:`bind`, with a solver of y + f(y) = v."""
        return self._of, self._solve

    def forward(self, y: Tensor) -> Pair:
        return self._of(y)

    def _of(self, y: Tensor) -> Pair:
        outputs = self.net(y).to(y.dtype)
        with full_precision(y):
            params, multiples = self._split(outputs)
            pixels = y.flatten(2).mT
            # the strictly lower triangle of multiples, times the channels
            rest = pixels - (multiples * pixels[:, :, None]).sum(-1)
            value, log_slope = apply_map(self.value_map, rest, params, dim=0)
            f, diagonal = value - pixels, log_slope.exp() - 1
            return f.mT.unflatten(2, y.shape[2:]), diagonal.mT.unflatten(2, y.shape[2:])

    def _split(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Parameters of the maps ``(P, ..., C)``, and multiples ``(..., C, C)``, of outputs ``(..., num_outputs)``."""
        num_maps = self.channels * self.num_parameters_of_map
        params = outputs[..., :num_maps].unflatten(-1, (self.channels, -1)).movedim(-1, 0)
        rows, columns = torch.tril_indices(self.channels, self.channels, -1, device=outputs.device)
        flat = outputs.new_zeros(*outputs.shape[:-1], self.channels**2)
        flat = flat.index_copy(-1, rows * self.channels + columns, outputs[..., num_maps:])
        return params, flat.unflatten(-1, (self.channels, self.channels))

    @torch.no_grad()
    def _solve(self, v: Tensor, tol: Tensor, excused: Tensor, start: Tensor | None) -> Solution:
        def solve_pixel(row: int, column: int, outputs: Tensor) -> Tensor:
            return self._invert(v[:, :, row, column], outputs)

        if is_autocast(v.device.type) or is_reduced(v.device.type):
            y = self._repeated(v)
        else:
            y = self.net.solve(len(v), solve_pixel, channels=self.channels)
        f, diagonal = self._of(y)
        residual = (y + f - v).abs().flatten(1).amax(1) / v.abs().flatten(1).amax(1).clamp(min=1)
        return Solution(y, f, diagonal, InverseReport(torch.ones_like(residual, dtype=torch.long), residual))

    def _repeated(self, v: Tensor) -> Tensor:
        """Solve by passes of the whole net, which rounds in reduced precision as the forward map does.

        Each pass finds at least one more pixel, because the pixels before it no longer change.
        """
        y, pixels = torch.zeros_like(v), v.flatten(2).mT
        for _ in range(pixels.shape[1]):
            outputs = self.net(y).to(v.dtype)
            with full_precision(v):
                y, last = self._invert(pixels, outputs).mT.unflatten(2, v.shape[2:]), y
            if torch.equal(y, last):
                break
        return y

    def _invert(self, values: Tensor, outputs: Tensor) -> Tensor:
        """Invert the maps of pixels ``(..., C)`` whose outputs of the net are known."""
        params, multiples = self._split(outputs)
        rest = invert_map(self.value_map, values, params, dim=0)[0]
        known = rest[..., :1]
        for channel in range(1, self.channels):
            value = rest[..., channel] + (multiples[..., channel, :channel] * known).sum(-1)
            known = torch.cat([known, value[..., None]], dim=-1)
        return known

    def extra_repr(self) -> str:
        return f"value_map={self.value_map}"
