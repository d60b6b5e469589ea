"""Draws per second of the importance-weighted likelihood, relative to plain evaluations of the bound.

``python benchmarks/importance.py [CHECKPOINT]``, by default the reduced Glow of Table 1. The bound is evaluated at
several batch sizes; the best one alternates with the likelihood of a few images for several numbers of draws K, with
the same number of images times draws at once. Prints medians of the rates and of the ratios within a round.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch
from models import REDUCED, build

from lightning_flows.dequantization import DequantizedFlow
from lightning_flows.modules import load_model

BATCHES = (8, 16, 32, 64, 128)
DRAWS = (8, 64, 256)
TOTAL, ROUNDS = 256, 5


def rate(function: Callable[[], object], draws: int) -> float:
    """Draws per second."""
    start = time.perf_counter()
    function()
    return draws / (time.perf_counter() - start)


@torch.no_grad()
def main(path: str | None = None) -> None:
    torch.manual_seed(0)
    module = load_model(path) if path else build("table1/conv_exponential.yaml", *REDUCED)
    model: DequantizedFlow = module.eval().model  # type: ignore[assignment]
    images = torch.randint(0, 256, (max(BATCHES), *model.flow.event_shape), dtype=torch.uint8)

    def bound(batch: int) -> Callable[[], object]:
        return lambda: [model.elbo(images[:batch]) for _ in range(TOTAL // batch)]

    model.elbo(images)
    rates = {batch: statistics.median(rate(bound(batch), TOTAL) for _ in range(3)) for batch in BATCHES}
    best = max(rates, key=lambda batch: rates[batch])
    print(
        "bound, draws per second by batch size:", ", ".join(f"{batch}: {value:.1f}" for batch, value in rates.items())
    )
    for num_draws in DRAWS:
        images = images[: TOTAL // num_draws]
        pairs = [
            (
                rate(lambda: model.importance_sample(images, num_draws, chunk_size=best), TOTAL),  # noqa: B023
                rate(bound(best), TOTAL),
            )
            for _ in range(ROUNDS)
        ]
        likelihood, plain = (statistics.median(values) for values in zip(*pairs, strict=True))
        ratio = statistics.median(one / other for one, other in pairs)
        print(
            f"K = {num_draws:4}: {likelihood:.1f} draws per second; bound with {best}: {plain:.1f}; ratio {ratio:.3f}"
        )


if __name__ == "__main__":
    main(*sys.argv[1:2])
