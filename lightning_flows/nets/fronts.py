"""Solve y + f(y) = v for the autoregressive function of a Convolutional Sylvester Flow, front by front."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_flows.functional.fixed_point import InverseReport, Solution

RELAX_AFTER = 8
"""Iterations of a front after which its tolerance doubles with each further one, because round-off may stall it."""


class FrontSolver(NamedTuple):
    r"""Solve :math:`y + \gamma \tanh(a_2) \tanh(y \tanh(a_1) + t_1) + t_2 = v` for masked convolutions t and a of y.

    Pixels depend on those to their right and below, by 2x3 kernels. Pixel (r, c), counted from the bottom right, is in
    front 2r + c: it depends only on pixels of the three previous fronts and on its own lower channels. So all pixels of
    a front are solved at once, by a few Newton steps on the diagonal of the Jacobian. Convolutions become matrix
    products: those with other fronts are computed once, and those with the pixel itself in each step. This takes about
    as many multiplications as three evaluations of f, instead of up to 60 if whole images are iterated, but many small
    operations, so it is faster on a CPU only.

    Attributes: matrices from the channels of the pixel, and of the four pixels that it depends on, to those of the
    next layer; heads in the order t₁, t₂, a₁, a₂.

    Shapes: v, y ``(B, C, H, W)``; tolerances ``(B,)``, relative to the largest value of a sample.
    """

    first: Tensor
    first_others: Tensor
    first_bias: Tensor
    hidden: Tensor
    hidden_bias: Tensor
    heads: Tensor
    heads_others: Tensor
    heads_bias: Tensor
    gamma: float

    @classmethod
    @torch.no_grad()
    def from_kernels(cls, kernels: Sequence[tuple[Tensor, Tensor]], gamma: float) -> "FrontSolver":
        """Make a solver from three pairs of a kernel and a bias: 2x3, 1x1, and 2x3 with the heads t₁, a₁, t₂, a₂."""
        first, hidden, heads = kernels
        kernel, bias = (each.unflatten(0, (4, -1))[[0, 2, 1, 3]].flatten(0, 1) for each in heads)
        middle = hidden[0][:, :, 0, 0].T.contiguous()
        return cls(*_taps(first[0]), first[1], middle, hidden[1], *_taps(kernel), bias, gamma)

    def __call__(self, v: Tensor, tol: Tensor, excused: Tensor, start: Tensor | None = None) -> Solution:
        """Solve from ``start``; reports the largest number of iterations of a front, and residual of a pixel."""
        batch, channels, height, width = v.shape
        front, row = _places(height, width, v.device)
        num_fronts, max_iter = 2 * height + width - 2, channels + 2 * RELAX_AFTER + 1
        scale = v.abs().amax((1, 2, 3)).clamp(min=1)
        tol, excused = (tol * scale)[:, None], (excused * scale)[:, None]
        given = _skewed(v, front, row, num_fronts)
        guess = given if start is None else _skewed(start, front, row, num_fronts)
        found = v.new_zeros(3, 3 + num_fronts, 1 + height, batch, channels)  # y, f, diagonal; zeros are the padding
        hidden = v.new_zeros(4, 1 + height, batch, len(self.hidden))  # of the last fronts
        iterations, residual = torch.zeros_like(scale), torch.zeros_like(scale)
        for number in range(num_fronts):
            low, high = max(0, (number - width + 2) // 2), min(height - 1, number // 2) + 1
            hidden[number % 4, : low + 1] = 0
            if low >= high:
                continue
            num, here, below = high - low, slice(low + 1, high + 1), slice(low, high)
            y = found[0, number : number + 3]
            others = torch.cat([y[2, here], y[2, below], y[1, below], y[0, below]], -1).flatten(0, 1)
            first = torch.addmm(self.first_bias, others, self.first_others)
            h = [hidden[(number - age) % 4] for age in (1, 2, 3)]
            others = torch.cat([h[0][here], h[0][below], h[1][below], h[2][below]], -1).flatten(0, 1)
            heads = torch.addmm(self.heads_bias, others, self.heads_others)
            solved = self._solve_front(
                first,
                heads,
                given[number, below].flatten(0, 1),
                guess[number, below].flatten(0, 1),
                tol.repeat(num, 1),
                excused.repeat(num, 1),
                range(int(start is None), max_iter),
            )
            for whole, part in zip((*found[:, number + 3], hidden[number % 4]), solved, strict=False):
                whole[here] = part.unflatten(0, (num, batch))
            error, count = solved[4:]
            residual = torch.maximum(residual, error.unflatten(0, (num, batch)).amax((0, 2)))
            iterations = torch.maximum(iterations, count.unflatten(0, (num, batch)).amax((0, 2)))
        images = found[:, 3:, 1:][:, front, row].permute(0, 3, 1, 2, 4).contiguous()  # channels last
        y, f, diagonal = images.permute(0, 1, 4, 2, 3)
        return Solution(y, f, diagonal, InverseReport(iterations.long(), residual / scale))

    def _solve_front(
        self, first: Tensor, heads: Tensor, v: Tensor, y: Tensor, tol: Tensor, excused: Tensor, steps: range
    ) -> tuple[Tensor, ...]:
        """Return y, f, diagonal, the hidden layer, the absolute error, and the iterations of pixels ``(P, 1)``."""
        channels, count = v.shape[1], torch.zeros_like(tol)
        for step in steps:
            h = torch.addmm(first, y, self.first).relu_()
            h = torch.addmm(self.hidden_bias, h, self.hidden).relu_()
            out = torch.addmm(heads, h, self.heads)
            t1, t2 = out[:, :channels], out[:, channels : 2 * channels]
            s1, s2 = torch.tanh(out[:, 2 * channels :]).chunk(2, 1)
            s2 = s2 * self.gamma
            th = torch.tanh(torch.addcmul(t1, y, s1))
            f = torch.addcmul(t2, s2, th)
            error = y + f - v
            size, slope = error.abs(), s1 * s2
            diagonal = torch.addcmul(slope, slope * th, th, value=-1)
            left = ~(size <= tol).all(1, keepdim=True)  # also of NaN
            left |= step == 0  # a given start is improved everywhere
            if step == steps[-1] or not left.any():
                break
            count += left
            y = torch.addcdiv(y, error * left, 1 + diagonal, value=-1)
            if step >= RELAX_AFTER:
                tol = torch.minimum(2 * tol, excused)
        return y, f, diagonal, h, size, count


def _taps(kernel: Tensor) -> tuple[Tensor, Tensor]:
    """Matrices of the center of a causal 2x3 kernel, and of the pixels to the right, below left, below, below right."""
    others = [kernel[:, :, 0, 2], *kernel[:, :, 1].unbind(-1)]
    return kernel[:, :, 0, 1].T.contiguous(), torch.cat(others, 1).T.contiguous()


def _places(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Front, and row counted from the bottom, of each pixel: both ``(H, W)``."""
    row, column = (torch.arange(size, device=device).flip(0) for size in (height, width))
    row = row[:, None]
    return 2 * row + column, row.expand(height, width)


def _skewed(x: Tensor, front: Tensor, row: Tensor, num_fronts: int) -> Tensor:
    """Values ``(B, C, H, W)`` by front and row: ``(F, H, B, C)``."""
    skewed = x.new_zeros(num_fronts, x.shape[2], x.shape[0], x.shape[1])
    skewed[front, row] = x.permute(2, 3, 0, 1)
    return skewed
