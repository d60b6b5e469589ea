"""Compare a Convolutional Sylvester layer with a plain implementation: ``python benchmarks/csf_layer.py``.

The plain version has 3x3 masked kernels, four separate heads, the contiguous layout, both vectors of each power
iteration, and the reflections one after the other. An assertion checks that both compute the same numbers. A run
is one forward and backward pass in train mode; runs alternate in one process. Prints medians.
"""

import argparse
import statistics
import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_flows.functional.series import terms_needed
from lightning_flows.nets.spectral_norm import SLACK, SpectralNorm
from lightning_flows.transforms import ConvSylvester

SHAPE = (12, 16, 16)


def unit(x: Tensor) -> Tensor:
    """x scaled to norm one."""
    return x / torch.linalg.vector_norm(x).clamp(min=1e-12)


class PlainConv(nn.Module):
    """A 3x3 or 1x1 convolution whose kernel is masked and normalized by one power-iteration step on two vectors."""

    def __init__(
        self, spectral: SpectralNorm, kernel: Tensor, bias: Tensor | None, mask: Tensor, vector: Tensor
    ) -> None:
        super().__init__()
        self.weight, self.mask, self.limit = nn.Parameter(kernel.detach().clone()), mask, spectral.max_norm
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())
        self.side = kernel.shape[3] // 2
        vector = F.pad(vector, (0, SHAPE[2] - vector.shape[3], 0, SHAPE[1] - vector.shape[2]))  # of a 1x1 kernel
        with torch.no_grad():
            self.u = F.conv2d(vector, kernel * mask, padding=self.side) if spectral.on_input_side else vector
        self.v = vector

    def kernel(self) -> Tensor:
        """The normalized kernel."""
        kernel = self.weight * self.mask
        with torch.no_grad():
            self.v = unit(F.conv_transpose2d(self.u, kernel, padding=self.side))
            self.u = unit(F.conv2d(self.v, kernel, padding=self.side))
        sigma = (self.u * F.conv2d(self.v, kernel, padding=self.side)).sum()
        return kernel / ((sigma / self.limit).clamp(min=1) + 1e-5)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        return F.conv2d(x, self.kernel(), self.bias, padding=self.side)


class PlainLayer(nn.Module):
    """A direct implementation of the layer, with the weights of ``layer``."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        householder, exponential = layer.basis.transforms
        net, spectral = layer.function.net, exponential.spectral_norm
        self.vectors = nn.Parameter(householder.vectors.detach().clone())
        ones = torch.ones_like(exponential.weight)
        self.exponential = PlainConv(spectral, exponential.weight, None, ones, spectral.vector.clone())
        self.input, self.hidden = self.convs(net.input)[0], self.convs(net.hidden)[0]
        self.heads = nn.ModuleList(self.convs(net.heads))
        self.gamma = layer.function.gamma
        self.num_terms = terms_needed(SLACK * exponential.max_norm, 4 * torch.finfo(torch.float32).eps)

    @staticmethod
    def convs(conv: Any) -> list[PlainConv]:
        """Separate convolutions, with the rows above the center restored."""
        above, spectral = (0, 0, conv.weight.shape[2] - 1, 0), conv.spectral_norm
        groups = [F.pad(conv.weight, above), conv.bias, F.pad(conv.mask, above)]
        vectors = spectral.vector.clone().chunk(spectral.groups, dim=1)
        parts = zip(*(value.chunk(spectral.groups) for value in groups), vectors, strict=True)
        return [PlainConv(spectral, *part) for part in parts]

    def series(self, kernel: Tensor, x: Tensor) -> Tensor:
        """Exponential of the convolution."""
        term = total = x
        for i in range(1, self.num_terms + 1):
            term = F.conv2d(term, kernel, padding=1) / i
            total = total + term
        return total

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x + Qᵀ exp(−M) f(exp(M) Q x)."""
        q = identity = torch.eye(x.shape[1])
        for v in self.vectors:
            q = q @ (identity - 2 * torch.outer(v, v) / v.dot(v))
        kernel = self.exponential.kernel()
        y = self.series(kernel, F.conv2d(x, q[:, :, None, None]))
        h = torch.relu(self.hidden(torch.relu(self.input(y))))
        t1, a1, t2, a2 = (head(h) for head in self.heads)
        s1, s2 = torch.tanh(a1), self.gamma * torch.tanh(a2)
        bent = torch.tanh(y * s1 + t1)
        z = x + F.conv2d(self.series(-kernel, s2 * bent + t2), q.T[:, :, None, None])
        return z, torch.log1p(s2 * s1 * (1 - bent.square())).flatten(1).sum(1)


def run(layer: nn.Module, x: Tensor) -> float:
    """Seconds of one forward and backward."""
    start = time.perf_counter()
    z, log_det = layer(x)
    (z.square().sum() / 2 - log_det.sum()).backward()
    seconds = time.perf_counter() - start
    layer.zero_grad()
    return seconds


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15, help="runs of each version")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--widths", type=int, nargs="+", default=[96, 528])
    arguments = parser.parse_args()
    print(f"one layer, events {SHAPE}, batch {arguments.batch}, {torch.get_num_threads()} threads")
    print(f"{'width':>5}  {'plain ms':>9}  {'ours ms':>9}  {'ratio':>6}")
    for width in arguments.widths:
        torch.manual_seed(0)
        ours = ConvSylvester(SHAPE, width)
        x = torch.randn(arguments.batch, *SHAPE)
        inputs = x.requires_grad_(), x.detach().to(memory_format=torch.channels_last).requires_grad_()
        with torch.no_grad():
            for parameter in ours.function.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
            for _ in range(300):  # settle the power iterations
                ours(x[:1])
            plain = PlainLayer(ours)
            ours(x[:1])  # the plain version steps before, ours after the forward
            (z, log_det), (plain_z, plain_log_det) = ours(inputs[1]), plain(inputs[0])
            torch.testing.assert_close(z, plain_z, rtol=0, atol=1e-5)
            torch.testing.assert_close(log_det, plain_log_det, rtol=0, atol=1e-4)
        run(plain, inputs[0]), run(ours, inputs[1])
        seconds = [(run(plain, inputs[0]), run(ours, inputs[1])) for _ in range(arguments.repeats)]
        slow, fast = (1e3 * statistics.median(values) for values in zip(*seconds, strict=True))
        print(f"{width:>5}  {slow:>9.1f}  {fast:>9.1f}  {fast / slow:>6.2f}")


if __name__ == "__main__":
    main()
