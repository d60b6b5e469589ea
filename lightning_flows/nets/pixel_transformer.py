"""A net whose outputs for each pixel depend on the pixels before it, by attention, with a linear prediction."""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_flows.errors import ShapeError, UsageError, check_sizes
from lightning_flows.functional.precision import full_precision
from lightning_flows.functional.shapes import image_shape
from lightning_flows.nets.attention import AttentionSizes
from lightning_flows.nets.graph_attention import small_initialized

ERROR_SCALE = 8.0
"""Factor by which prediction errors are scaled before they are embedded, since they are much smaller than values."""


class PixelTransformer(nn.Module):
    r"""Outputs for each pixel, and a linear prediction of it, from the pixels of earlier fronts.

    .. math:: \text{output}_p = \mathrm{net}(\{y_q : t_q < t_p\})_p, \qquad t_p = \text{column}_p + s\, \text{row}_p

        \text{prediction}_p = A\, \text{window}_p(y) + a, \qquad e = y - \text{prediction}

    Pixels with equal t form a front. The window of a pixel has rows above it, and pixels to its left. s is one more
    than the number of these rows, so that the window lies in earlier fronts. A pixel is embedded by a linear map of the
    windows of y, e and \|e\|, from which the net sees how uncertain predictions are nearby. Then it attends to itself,
    to earlier fronts, and to pixels of its own front in rows above it, whose embeddings contain earlier fronts only. So
    all pixels of a front are found at once, and there are at most W + (H − 1)s fronts instead of HW pixels. The last
    layer is initialized near zero, A and a at zero.

    Shapes: y ``(B, C, H, W)``; returns outputs ``(B, H * W, num_outputs)`` and predictions ``(B, H * W, C)``.
    Args:
        event_shape: (C, H, W).
        num_outputs: outputs per pixel.
        sizes: of the attention blocks.
        window: side of the window, odd: 5 for two rows above, and two pixels to the left.

    Raises: ShapeError for other events or images; UsageError unless the window is odd and from 3 to 2W + 1.
    Source: similar to Chen et al., Generative pretraining from pixels, 2020.

    >>> net = PixelTransformer((1, 4, 4), 3, AttentionSizes(width=8, num_blocks=1, num_heads=2), window=3)
    >>> y = torch.randn(1, 1, 4, 4)
    >>> jacobian = torch.autograd.functional.jacobian(lambda y: net(y)[0][0, :, 0], y).reshape(16, 16)
    >>> jacobian = jacobian[net.order()][:, net.order()]
    >>> torch.equal(jacobian, jacobian.tril(-1))  # outputs depend on the pixels before their own
    True
    """

    def __init__(
        self, event_shape: Sequence[int], num_outputs: int, sizes: AttentionSizes = AttentionSizes(), *, window: int = 5
    ) -> None:
        super().__init__()
        self.channels, self.height, self.width = image_shape(event_shape)
        check_sizes(num_outputs=num_outputs, window=window)
        if window % 2 == 0 or not 3 <= window <= 2 * self.width + 1:
            raise UsageError(f"expected an odd window from 3 to {2 * self.width + 1}; got {window}")
        self.side, self.taps = window // 2, window**2 // 2
        num_pixels = self.height * self.width
        self.front_sizes = self.fronts(torch.device("cpu")).unique(return_counts=True)[1].tolist()
        self.embed = nn.Linear(3 * self.channels * self.taps, sizes.width)
        # by place in the order; before 0.6, by pixel under another name: such checkpoints do not load
        self.places = nn.Parameter(torch.randn(num_pixels, sizes.width) / math.sqrt(sizes.width))
        self.prediction = nn.Linear(self.channels * self.taps, self.channels)
        for parameter in self.prediction.parameters():
            nn.init.zeros_(parameter)
        self.blocks = sizes.blocks()
        self.norm, self.out = nn.LayerNorm(sizes.width), small_initialized(nn.Linear(sizes.width, num_outputs))

    def fronts(self, device: torch.device | None = None) -> Tensor:
        """The front t of each pixel ``(H * W,)``, row by row."""
        rows, columns = (torch.arange(n, device=device) for n in (self.height, self.width))
        return (columns + (self.side + 1) * rows[:, None]).flatten()

    def order(self, device: torch.device | None = None) -> Tensor:
        """Numbers of the pixels, row by row, in the order in which they are visited.

        Computed each time: as a buffer, averages of weights and buffers might round them.
        """
        return self.fronts(device).argsort(stable=True)

    def check(self, y: Tensor) -> None:
        """Raise ShapeError unless y is ``(B, C, H, W)``."""
        if y.ndim != 4 or y.shape[1:] != (self.channels, self.height, self.width):
            shape = f"(B, {self.channels}, {self.height}, {self.width})"
            raise ShapeError(f"PixelTransformer: expected images of shape {shape}; got {tuple(y.shape)}")

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        self.check(y)
        windows = self._windows(y)
        predictions = self._predict(windows)
        errors = self._windows(y - predictions.mT.unflatten(2, y.shape[2:]))
        order = self.order(y.device)
        h = self._embed(windows, errors)[:, order] + self.places
        for block in self.blocks:
            h = block(h, is_causal=True)
        return self.out(self.norm(h))[:, order.argsort()], predictions

    @torch.no_grad()
    def solve(self, num: int, solve_pixels: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        """Find ``num`` images front by front, at the cost of one forward pass.

        ``solve_pixels(rows, columns, outputs, predictions)`` returns K pixels ``(B, K, C)``, of which the net has
        the outputs ``(B, K, num_outputs)`` and the predictions ``(B, K, C)``.
        """
        state = self._padded(self.places.new_zeros(num, 2 * self.channels, self.height, self.width))  # y and errors
        taps = torch.arange(self.taps, device=state.device)
        down, right = taps // (2 * self.side + 1), taps % (2 * self.side + 1)
        order, pasts, start = self.order(state.device), None, 0
        for size in self.front_sizes:
            front = order[start : start + size]
            rows, columns = front // self.width, front % self.width
            around = state[:, :, rows[:, None] + down, columns[:, None] + right].transpose(1, 2)
            windows, of_errors = (each.flatten(2) for each in around.chunk(2, dim=2))
            predictions = self._predict(windows)
            h = self._embed(windows, of_errors) + self.places[start : start + size]
            pasts = pasts or [block.past(h, len(self.places)) for block in self.blocks]
            for block, past in zip(self.blocks, pasts, strict=True):
                h = block.extend(h, past, start)
            pixels = solve_pixels(rows, columns, self.out(self.norm(h)), predictions)
            new = torch.cat([pixels, pixels - predictions], dim=2)
            state[:, :, rows + self.side, columns + self.side] = new.mT
            start += size
        return state[:, : self.channels, self.side :, self.side : self.side + self.width]

    def _windows(self, y: Tensor) -> Tensor:
        """The windows of all pixels, ``(B, H * W, C * taps)``."""
        windows = F.unfold(self._padded(y), (self.side + 1, 2 * self.side + 1))
        return windows.unflatten(1, (y.shape[1], -1))[:, :, : self.taps].flatten(1, 2).mT

    def _embed(self, windows: Tensor, errors: Tensor) -> Tensor:
        errors = ERROR_SCALE * errors
        return self.embed(torch.cat([windows, errors, errors.abs()], dim=-1))

    def _predict(self, windows: Tensor) -> Tensor:
        """In full precision, because pixels are found by adding the prediction."""
        with full_precision(windows):
            return self.prediction(windows)

    def _padded(self, y: Tensor) -> Tensor:
        """Zeros above, to the left and to the right."""
        return F.pad(y, (self.side, self.side, self.side, 0))
