"""A process of :mod:`against`: holds models of the revision on its path, and measures them when it is told to.

Reads a JSON list [function, arguments] a line from the standard input, and answers with a line of JSON.
"""

import importlib.util
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import against_models as models
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

_spec = importlib.util.spec_from_file_location(
    "measures", Path(__file__).parents[1] / "lightning_flows/training/measures.py"
)
assert _spec
assert _spec.loader
measures = importlib.util.module_from_spec(_spec)  # of the revision that compares: the other may lack it
_spec.loader.exec_module(measures)

HOST_READS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::masked_select")
"""Operators for which the host waits for the device."""

VIEWS = ("aten::_unsafe_view", "aten::detach", "aten::alias", "prim::device")
"""Views that torch does not mark as such."""
SETTLE = 50
"""Training forwards after which vectors of power iterations are settled."""


class CountOperators(TorchDispatchMode):
    """Counts operators of the forward and the backward, in ``counts`` by name; views, which compute nothing, aside."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().partition(".")[0]
        if not (func.is_view or name in VIEWS or name.startswith("profiler::")):
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))

    @property
    def host_reads(self) -> int:
        """Number of operators that make the host wait for the device."""
        return sum(self.counts[name] for name in HOST_READS)


class Worker:
    """Models by name, and what is measured on them."""

    def __init__(self) -> None:
        self.models: dict[str, nn.Module] = {}
        self.data: dict[str, Tensor] = {}

    def build(self, name: str, family: str, batch: int, threads: int, recompute: bool = False, **changes: Any) -> int:
        """Build a model with perturbed weights and initialized ActNorms; returns its number of parameters."""
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        model = models.build(family, **changes).train()
        self.models, self.data = {name: model}, {name: models.data(family, batch)}
        if recompute:
            model.flow.recompute = True  # type: ignore[union-attr]
        with torch.no_grad():
            for weight, assign in models.weights(model):
                assign(weight + 0.02 * torch.randn_like(weight))
            models.log_prob(model, self.data[name])
        return sum(p.numel() for p in model.parameters())

    def write(self, name: str, path: str) -> None:
        """Write the weights to a file."""
        torch.save([weight.clone() for weight, _ in models.weights(self.models[name])], path)

    @torch.no_grad()
    def read(self, name: str, path: str) -> str:
        """Take the weights of a file; returns why not, if their shapes differ."""
        own, given = list(models.weights(self.models[name])), torch.load(path)
        if [w.shape for w, _ in own] != [w.shape for w in given]:
            return f"{len(own)} weights of other shapes than the {len(given)} given"
        for (_, assign), weight in zip(own, given, strict=True):
            assign(weight)
        return ""

    @torch.no_grad()
    def values(self, name: str) -> list[float]:
        """Log-densities in eval mode of the same images with the same noise."""
        model, x = self.models[name], self.data[name]
        for _ in range(SETTLE):
            models.log_prob(model, x[:1])
        noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) if x.dtype == torch.uint8 else None
        values: list[float] = models.log_prob(model.eval(), x, noise).tolist()
        model.train()
        return values

    def train(self, name: str, steps: int, seed: int) -> float:
        """Seconds of a training step without the optimizer."""
        torch.manual_seed(seed)  # the same random numbers of terms in residual flows
        start = time.perf_counter()
        for _ in range(steps):
            self._step(name)
        return (time.perf_counter() - start) / steps

    def sample(self, name: str, steps: int, seed: int) -> float:
        """Seconds in which a batch is sampled."""
        model = self.models[name].eval()
        torch.manual_seed(seed)
        start = time.perf_counter()
        with torch.no_grad():
            for _ in range(steps):
                models.sample(model, len(self.data[name]))
        seconds = (time.perf_counter() - start) / steps
        model.train()
        return seconds

    def bytes(self, name: str, seeds: int = 5) -> float:
        """Mean of the bytes kept for the backward over several seeds, which set the terms of residual flows."""
        model, total = self.models[name], 0
        for seed in range(seeds):
            torch.manual_seed(seed)
            total += measures.bytes_kept(lambda: self._step(name), [*model.parameters(), *model.buffers()])
        return total / seeds

    def operators(self, name: str, seeds: int = 5) -> tuple[float, float]:
        """Mean number of operators of a training step with a fused optimizer, and of those that read values."""
        optimizer = torch.optim.Adam(self.models[name].parameters(), lr=1e-9, fused=True)
        self._step(name)
        optimizer.step()
        found = []
        for seed in range(seeds):
            torch.manual_seed(seed)
            with CountOperators() as counter:
                self._step(name)
                optimizer.step()
            found.append((counter.counts.total(), counter.host_reads))
        operators, reads = (sum(numbers) / seeds for numbers in zip(*found, strict=True))
        return operators, reads

    def _step(self, name: str) -> None:
        model = self.models[name]
        model.zero_grad(set_to_none=True)
        (-models.log_prob(model, self.data[name])).mean().backward()


def main() -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    sys.stdout = sys.stderr  # nothing else may write between the answers
    worker = Worker()
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps(getattr(worker, name)(**arguments)), file=answers, flush=True)


if __name__ == "__main__":
    main()
