"""Solvers of the inverse of a trained Convolutional Sylvester Flow: ``python benchmarks/inverse.py CHECKPOINT``.

Decodes latents, and solves the equation of each layer, y + f(y) = v, with each solver: ``plain``, Newton steps on the
diagonal of the Jacobian of the whole image; ``anderson M``, the same with Anderson acceleration over M steps per
sample, restarted where the residual grows; ``rows``, one row of pixels after another; ``fronts``, one anti-diagonal
after another. Prints, for each resolution, milliseconds, the largest number of iterations (of a row or front, which
only involve its own pixels), and the largest residual. ``against.py --checkpoint`` times decoding as a whole.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from itertools import zip_longest
from typing import Any, cast

import torch
from torch import Tensor

from lightning_flows.functional.fixed_point import ResidualMap, Solution, solve_residual
from lightning_flows.functional.solver import Solver
from lightning_flows.modules import load_model
from lightning_flows.nets.fronts import FrontSolver
from lightning_flows.training.measures import device_name

Found = tuple[Tensor, float]
"""The solution, and the largest number of iterations."""


class Recorder(Solver):
    """A solver that keeps the equation of each layer."""

    def __init__(self) -> None:
        super().__init__()
        self.equations: list[tuple[ResidualMap, Tensor, Any]] = []

    def solve(self, residual_map: ResidualMap, v: Tensor, **options: Any) -> Solution:
        """Solve an equation and keep it."""
        self.equations.append((residual_map, v, options["direct"]))
        return super().solve(residual_map, v, **options)


def sizes(v: Tensor) -> Tensor:
    """Largest magnitude of each sample, at least 1."""
    return v.abs().flatten(1).amax(1).clamp(min=1)


def plain(f: ResidualMap, v: Tensor, direct: FrontSolver, tol: float) -> Found:
    """Newton steps on the diagonal for the whole image."""
    solution = solve_residual(f, v, max_iter=500, name="layer", tol=v.new_full((len(v),), tol))
    return solution.y, solution.report.iterations.max().item()


def fronts(f: ResidualMap, v: Tensor, direct: FrontSolver, tol: float) -> Found:
    """What Sylvester layers use on a CPU."""
    tols = v.new_full((len(v),), tol)
    solution = direct(v, tols, tols.clamp(min=1000 * torch.finfo(v.dtype).eps))
    return solution.y, solution.report.iterations.max().item()


def anderson(f: ResidualMap, v: Tensor, direct: FrontSolver, tol: float, memory: int) -> Found:
    """Anderson acceleration of the diagonal Newton iteration; solved samples stay in the batch, unchanged."""
    y, scale, best = v, sizes(v), torch.full((len(v),), torch.inf, dtype=v.dtype)
    steps: list[Tensor] = []
    changes: list[Tensor] = []
    before: tuple[Tensor, Tensor] | None = None
    for iteration in range(500):  # noqa: B007  # it is returned
        value, diagonal = f(y)
        error = y + value - v
        residual = error.abs().flatten(1).amax(1) / scale
        left = residual > tol
        if not left.any():
            break
        newton = (error / (1 + diagonal)).flatten(1)
        if before is not None:
            steps = [*steps, y.flatten(1) - before[0]][-memory:]
            changes = [*changes, newton - before[1]][-memory:]
            keep = (residual <= 2 * best)[:, None]  # forget where the residual grows
            steps, changes = [keep * x for x in steps], [keep * x for x in changes]
        best, before = torch.minimum(best, residual), (y.flatten(1), newton)
        update = newton
        if steps:
            matrix = torch.stack(changes, 1).double()
            gram = matrix @ matrix.mT
            ridge = 1e-10 * gram.diagonal(dim1=1, dim2=2).amax(1)[:, None, None] + 1e-300
            weights = torch.linalg.solve(gram + ridge * torch.eye(len(steps)), matrix @ newton.double()[:, :, None])
            update = newton + ((torch.stack(steps, 1) - matrix) * weights).sum(1).to(v.dtype)
        y = y - (left[:, None] * update).unflatten(1, v.shape[1:]).contiguous(memory_format=torch.channels_last)
    return y, iteration


def rows(f: ResidualMap, v: Tensor, direct: FrontSolver, tol: float) -> Found:
    """Solve one row after another, from the bottom; all pixels of a row at once."""
    batch, channels, height, width = v.shape
    hidden, limit, most = len(direct.hidden), (tol * sizes(v))[:, None, None], 0

    def right(x: Tensor, by: int = 1) -> Tensor:
        return torch.nn.functional.pad(x, (0, 0, 0, by) if by > 0 else (0, 0, -by, 0))[:, max(by, 0) :][:, :width]

    def below(x: Tensor, matrix: Tensor, bias: Tensor) -> Tensor:
        return torch.cat([right(x, -1), x, right(x)], -1) @ matrix[x.shape[2] :] + bias

    y_below, h_below = v.new_zeros(batch, width, channels), v.new_zeros(batch, width, hidden)
    found = torch.empty_like(v)
    for row in reversed(range(height)):
        value = v[:, :, row].mT.contiguous()
        first = below(y_below, direct.first_others, direct.first_bias)
        last = below(h_below, direct.heads_others, direct.heads_bias)
        if row == height - 1:
            first, last = direct.first_bias.expand_as(first), direct.heads_bias.expand_as(last)
        y = value
        for iteration in range(500):
            h = torch.relu_(first + y @ direct.first + right(y) @ direct.first_others[:channels])
            h = torch.relu_(h @ direct.hidden + direct.hidden_bias)
            out = last + h @ direct.heads + right(h @ direct.heads_others[:hidden])
            t1, t2, a1, a2 = out.chunk(4, -1)
            s1, s2 = torch.tanh(a1), direct.gamma * torch.tanh(a2)
            th = torch.tanh(y * s1 + t1)
            error = y + s2 * th + t2 - value
            left = ~(error.abs() <= limit).all(-1, keepdim=True).all(1, keepdim=True)
            if not left.any() or iteration > 60:
                break
            y = torch.where(left, y - error / (1 + s1 * s2 * (1 - th * th)), y)
        most = max(most, iteration)
        found[:, :, row], y_below, h_below = y.mT, y, h
    return found, most


SOLVERS: dict[str, Callable[[ResidualMap, Tensor, FrontSolver, float], Found]] = {
    "plain": plain,
    "anderson 2": partial(anderson, memory=2),
    "anderson 5": partial(anderson, memory=5),
    "rows": rows,
    "fronts": fronts,
}


@torch.no_grad()
def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--tol", type=float, default=5e-7, help="relative residual")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    flow: Any = cast(Any, load_model(arguments.checkpoint).model).flow
    *noises, x = flow.sample_latents(arguments.batch, generator=torch.Generator().manual_seed(0))
    recorder = Recorder()
    for level, noise in list(zip_longest(flow.levels, noises))[::-1]:
        x = level.decode(x if noise is None else torch.cat([x, noise], 1), None, recorder)
    times: dict[tuple[str, int], float] = defaultdict(float)
    most: dict[tuple[str, int], float] = defaultdict(float)
    worst: dict[tuple[str, int], float] = defaultdict(float)
    for f, v, direct in recorder.equations:
        for name, solver in SOLVERS.items():
            key, seconds = (name, v.shape[2]), []
            for _ in range(arguments.repeats):
                start = time.perf_counter()
                y, iterations = solver(f, v, direct, arguments.tol)
                seconds.append(time.perf_counter() - start)
            residual = ((y + f(y)[0] - v).abs().flatten(1).amax(1) / sizes(v)).max().item()
            times[key] += 1e3 * min(seconds)
            most[key], worst[key] = max(most[key], iterations), max(worst[key], residual)
    heights = sorted({height for _, height in times}, reverse=True)
    print(f"{arguments.batch} images, tolerance {arguments.tol:.0e}, {device_name(torch.device('cpu'))}")
    titles = (f"height {height}: ms, iterations, residual" for height in heights)
    print("solver".ljust(12), *(f"{title:>40}" for title in titles), f"{'all: ms':>10}")
    for name in SOLVERS:
        cells = (f"{times[name, h]:.0f} {most[name, h]:5.0f} {worst[name, h]:9.1e}" for h in heights)
        print(name.ljust(12), *(f"{cell:>40}" for cell in cells), f"{sum(times[name, h] for h in heights):10.0f}")


if __name__ == "__main__":
    main()
