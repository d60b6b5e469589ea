"""Draws per second of the importance-weighted likelihood, relative to plain evaluations of the bound.

``python benchmarks/importance.py [--config NAME…] [--checkpoint FILE]``, by default the reduced CSF. The bound is
evaluated at several batch sizes, with noise drawn before the clock starts. The best one takes turns with the likelihood
of one and of many images, with as many images times draws at once. Prints medians of the rates and of the ratios within
a round, then the time to draw only the noise of an evaluation of 10,000 images.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from models import build

from lightning_flows.dequantization import DequantizedFlow
from lightning_flows.functional.philox import streams
from lightning_flows.modules import load_model

BATCHES = (16, 32, 64, 128)
CASES = ((1, 1000), (16, 64), (128, 8), (1, 8))
"""Numbers of images, and of draws for each."""


def rate(function: Callable[[], object], draws: int) -> float:
    """Draws per second."""
    start = time.perf_counter()
    function()
    return draws / (time.perf_counter() - start)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", nargs="+", default=["csf.yaml", "size/cpu.yaml"])
    parser.add_argument("--checkpoint")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.manual_seed(0)
    module = load_model(options.checkpoint) if options.checkpoint else build(*options.config)
    model: DequantizedFlow = module.eval().model  # type: ignore[assignment]
    images = torch.randint(0, 256, (max(BATCHES), *model.event_shape), dtype=torch.uint8)
    noise = model.dequantization.draw_noise(len(images))

    def bound(batch: int, total: int) -> Callable[[], object]:
        sizes = [min(batch, total - start) for start in range(0, total, batch)]
        return lambda: [model.elbo(images[:size], noise[:size]) for size in sizes]

    model.elbo(images)
    rates = {batch: statistics.median(rate(bound(batch, 128), 128) for _ in range(3)) for batch in BATCHES}
    best = max(rates, key=lambda batch: rates[batch])
    shown = ", ".join(f"{batch}: {value:.1f}" for batch, value in rates.items())
    print(f"bound, draws per second by batch size: {shown}")
    for num, num_draws in CASES:
        total, some = num * num_draws, images[:num]
        pairs = []
        for _ in range(options.rounds):
            likelihood = rate(lambda: model.importance_sample(some, num_draws, chunk_size=best), total)  # noqa: B023
            pairs.append((likelihood, rate(bound(best, total), total)))
        ratio = statistics.median(one / other for one, other in pairs)
        one, other = (statistics.median(values) for values in zip(*pairs, strict=True))
        print(f"{num:4} images, K = {num_draws:4}: {one:.1f} draws per second; bound: {other:.1f}; ratio {ratio:.3f}")
    start = time.perf_counter()
    for first in range(0, 10_000, best):
        source = streams(0, "evaluation noise", range(first, min(first + best, 10_000)))
        model.dequantization.draw_noise(source.size, source)
    seconds = time.perf_counter() - start
    print(f"noise of 10,000 images in batches of {best}: {seconds:.2f} s, {100 * seconds * rates[best] / 10_000:.2f} %")


if __name__ == "__main__":
    main()
