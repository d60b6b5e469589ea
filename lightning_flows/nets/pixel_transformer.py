"""A net whose outputs for each pixel depend on the pixels before it, by attention."""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_flows.errors import UsageError, check_sizes
from lightning_flows.functional.shapes import image_shape
from lightning_flows.nets.attention import AttentionSizes
from lightning_flows.nets.graph_attention import small_initialized


class PixelTransformer(nn.Module):
    r"""Outputs for each pixel from the pixels before it in raster order: those in rows above, and to its left.

    .. math:: \text{output}_p = \mathrm{net}(y_1, \dots, y_{p-1})_p

    A pixel is embedded by a linear map of the pixels before it in a window, with a bias for its position; at the left
    edge the window continues in the row above, so that every pixel is seen by the next one. Then pixels attend to
    themselves and all pixels before. The last layer is initialized near zero.

    Shapes: y ``(B, C, H, W)``; returns ``(B, H * W, num_outputs)``.
    Args:
        event_shape: (C, H, W).
        num_outputs: outputs per pixel.
        sizes: of the attention blocks.
        window: side of the window, odd: 5 for two rows above, and two pixels to the left.

    Raises: ShapeError for other events; UsageError unless the window is odd and from 3 to 2W + 1.
    Source: similar to Chen et al., Generative pretraining from pixels, 2020.

    >>> net = PixelTransformer((1, 4, 4), 3, AttentionSizes(width=8, num_blocks=1, num_heads=2), window=3)
    >>> y = torch.randn(1, 1, 4, 4)
    >>> jacobian = torch.autograd.functional.jacobian(lambda y: net(y)[0, :, 0], y).reshape(16, 16)
    >>> torch.equal(jacobian, jacobian.tril(-1))  # outputs depend on the pixels before their own
    True
    """

    def __init__(
        self, event_shape: Sequence[int], num_outputs: int, sizes: AttentionSizes = AttentionSizes(), *, window: int = 5
    ) -> None:
        super().__init__()
        channels, self.height, self.width = image_shape(event_shape)
        check_sizes(num_outputs=num_outputs, window=window)
        if window % 2 == 0 or not 3 <= window <= 2 * self.width + 1:
            raise UsageError(f"expected an odd window from 3 to {2 * self.width + 1}; got {window}")
        self.side, self.taps = window // 2, window**2 // 2
        num_pixels = self.height * self.width
        self.embed = nn.Linear(channels * self.taps, sizes.width)
        self.position = nn.Parameter(torch.randn(num_pixels, sizes.width) / math.sqrt(sizes.width))
        self.blocks = sizes.blocks()
        self.norm, self.out = nn.LayerNorm(sizes.width), small_initialized(nn.Linear(sizes.width, num_outputs))

    def forward(self, y: Tensor) -> Tensor:
        windows = F.unfold(self._padded(y), (self.side + 1, 2 * self.side + 1))
        before = windows.unflatten(1, (y.shape[1], -1))[:, :, : self.taps].flatten(1, 2).mT
        h = self.embed(before) + self.position
        for block in self.blocks:
            h = block(h, is_causal=True)
        return self.out(self.norm(h))

    @torch.no_grad()
    def solve(self, num: int, solve_pixel: Callable[[int, int, Tensor], Tensor], *, channels: int) -> Tensor:
        """Find ``num`` images pixel by pixel: ``solve_pixel(row, column, outputs)`` returns a pixel ``(B, C)``.

        ``outputs`` ``(B, num_outputs)`` are the net's for that pixel. The cost is that of one forward pass.
        """
        padded = self._padded(self.position.new_zeros(num, channels, self.height, self.width))
        pasts = None
        for place in range(self.height * self.width):
            row, column = divmod(place, self.width)
            window = padded[:, :, row : row + self.side + 1, column : column + 2 * self.side + 1]
            before = window.flatten(2)[:, :, : self.taps].flatten(1)
            h = self.embed(before[:, None]) + self.position[place]
            pasts = pasts or [block.past(h, len(self.position)) for block in self.blocks]
            for block, past in zip(self.blocks, pasts, strict=True):
                h = block.extend(h, past, place)
            pixel = solve_pixel(row, column, self.out(self.norm(h))[:, 0])
            padded[:, :, row + self.side, column + self.side] = pixel
            if column + self.side >= self.width and row + 1 < self.height:
                padded[:, :, row + 1 + self.side, column + self.side - self.width] = pixel
        return padded[:, :, self.side :, self.side : self.side + self.width]

    def _padded(self, y: Tensor) -> Tensor:
        """Zeros above and to the right, and the end of each row to the left of the next one."""
        left = F.pad(y[:, :, :-1, -self.side :], (0, 0, 1, 0))
        return F.pad(torch.cat([left, y], dim=3), (0, self.side, self.side, 0))
