"""Time functions alternately in one process, so that a busy machine slows all equally."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from lightning_flows.modules import FlowModule


def train_step(module: FlowModule, optimizer: torch.optim.Optimizer, x: torch.Tensor) -> None:
    """Forward, backward and the optimizer step."""
    optimizer.zero_grad()
    (-module(x)).mean().backward()
    optimizer.step()


def compare(title: str, functions: Mapping[Any, Callable[[], object]], repeats: int) -> dict[Any, float]:
    """Time functions alternately; print medians, and print and return ratios to the first."""
    for function in functions.values():
        function()
    rounds = []
    for _ in range(repeats):
        seconds = []
        for function in functions.values():
            start = time.perf_counter()
            function()
            seconds.append(time.perf_counter() - start)
        rounds.append(seconds)
    width, ratios = max(len(str(kind)) for kind in functions), {}
    for i, kind in enumerate(functions):
        median = statistics.median(seconds[i] for seconds in rounds)
        ratios[kind] = statistics.median(seconds[i] / seconds[0] for seconds in rounds)
        print(f"{title:9} {kind:{width}} {1e3 * median:8.1f} ms  {100 * ratios[kind]:6.1f} %", flush=True)
    return ratios
