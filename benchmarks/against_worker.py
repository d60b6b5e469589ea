"""A process of :mod:`against`: holds models of the revision on its path, and measures them on request.

Reads a JSON list [method, arguments] per line of standard input, and answers with a line of JSON.
"""

import importlib.util
import inspect
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import against_models as models
import torch
from against_counts import Counts
from torch import Tensor

_spec = importlib.util.spec_from_file_location(
    "measures", Path(__file__).parents[1] / "lightning_flows/training/measures.py"
)
assert _spec
assert _spec.loader
measures = importlib.util.module_from_spec(_spec)  # of the checkout that compares: the other revision may lack it
_spec.loader.exec_module(measures)

SETTLE = 30
"""Forwards after which the vectors of power iterations have converged."""


class Worker:
    """Models by name, and their measurements."""

    def __init__(self) -> None:
        self.models: dict[str, Any] = {}
        self.data: dict[str, Tensor] = {}
        self.num_seeds = 1

    def start(self, threads: int) -> None:
        """Forget all models."""
        torch.set_num_threads(threads)
        self.models.clear()
        self.data.clear()

    def build(self, name: str, family: str, batch: int, recompute: bool = False, **options: Any) -> int:
        """Build a model with perturbed weights and initialized ActNorms; returns its number of parameters."""
        torch.manual_seed(0)
        model = self.models[name] = models.build(family, **options).train()
        x = self.data[name] = models.data(family, batch)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
            for each in [x, *[x[:1]] * SETTLE]:  # the first initializes ActNorms
                models.log_prob(model, each)
        self.num_seeds = 5 if family.startswith("residual") else 1  # counts are means: its terms are random
        if recompute:
            models.flow_of(model).recompute = True
        return sum(p.numel() for p in model.parameters())

    def load(self, name: str, path: str, num: int) -> dict[str, Any]:
        """Load a checkpoint of images, and sample; returns the arguments of ``build`` for a model of its sizes."""
        self.models[name], arguments = models.load(path)
        self.data[name] = self.models[name].sample(num)
        return arguments

    @torch.no_grad()
    def write(self, name: str, path: str) -> None:
        """Write data, weights and vectors of power iterations to a file."""
        model = self.models[name]
        tensors = [[value for value, _ in group(model)] for group in (models.weights, models.vectors)]
        torch.save((self.data[name], *tensors), path)

    @torch.no_grad()
    def read(self, name: str, path: str) -> str:
        """Load data, weights and vectors from a file; returns the reason if their shapes differ."""
        model = self.models[name]
        self.data[name], *given = torch.load(path)
        for group, tensors in zip((models.weights, models.vectors), given, strict=True):
            own = list(group(model))
            if [value.shape for value, _ in own] != [value.shape for value in tensors]:
                return f"its {len(own)} {group.__name__} differ in shape from the {len(tensors)} given"
            for (_, assign), value in zip(own, tensors, strict=True):
                assign(value)
        for module in model.modules():
            if hasattr(module, "initialized"):
                module.initialized.fill_(True)
        return ""

    @torch.no_grad()
    def values(self, name: str) -> list[float]:
        """Log-densities in eval mode, with the same noise in all revisions."""
        model, x = self.models[name].eval(), self.data[name]
        noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) if x.dtype == torch.uint8 else None
        values: list[float] = models.log_prob(model, x, noise).tolist()
        model.train()
        return values

    def descend(self, name: str) -> float:
        """Decrease of the loss in a few steps of gradient descent, which shows whether gradients are the same."""
        model, x, losses = self.models[name], self.data[name], []
        noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(2)) if x.dtype == torch.uint8 else None
        rate = 0.0
        for seed in range(6):
            model.zero_grad(set_to_none=True)
            torch.manual_seed(seed)
            loss = -models.log_prob(model, x, noise).mean()
            loss.backward()
            losses.append(loss.item())
            grads = [(p, p.grad) for p in model.parameters() if p.grad is not None]
            rate = rate or 0.001 * abs(losses[0]) / sum(grad.square().sum().item() for _, grad in grads)
            with torch.no_grad():
                for parameter, grad in grads:
                    parameter.sub_(rate * grad)
        return losses[0] - losses[-1]

    def train(self, name: str, steps: int, seed: int) -> float:
        """Seconds of a training step without the optimizer."""
        torch.manual_seed(seed)
        start = time.perf_counter()
        for _ in range(steps):
            self._step(name)
        return (time.perf_counter() - start) / steps

    @torch.no_grad()
    def sample(self, name: str, steps: int, seed: int) -> float:
        """Seconds to sample a batch."""
        model = self.models[name].eval()
        torch.manual_seed(seed)
        start = time.perf_counter()
        for _ in range(steps):
            models.flow_of(model).sample(len(self.data[name]))
        seconds = (time.perf_counter() - start) / steps
        model.train()
        return seconds

    def bytes(self, name: str) -> float:
        """Bytes kept for the backward."""
        model, total = self.models[name], 0
        for seed in range(self.num_seeds):
            torch.manual_seed(seed)
            total += measures.bytes_kept(
                lambda: models.log_prob(model, self.data[name]), lambda: [*model.parameters(), *model.buffers()]
            )
        return total / self.num_seeds

    def counts(self, name: str) -> list[float]:
        """Operators and host reads of a training step with a fused optimizer, and its peak of bytes."""
        optimizer = torch.optim.Adam(self.models[name].parameters(), lr=1e-9, fused=True)
        self._step(name)
        optimizer.step()
        found = []
        for seed in range(self.num_seeds):
            torch.manual_seed(seed)
            self.models[name].zero_grad(set_to_none=True)
            with Counts() as counts:
                self._step(name)
                optimizer.step()
            found.append((counts.operators.total(), counts.host_reads, counts.peak))
        return [sum(numbers) / self.num_seeds for numbers in zip(*found, strict=True)]

    @torch.no_grad()
    def latents(self, name: str, num: int, path: str) -> None:
        """Write latents, and the images that they decode to in float64."""
        flow = models.flow_of(self.models[name].eval())
        latents = flow.sample_latents(num, generator=torch.Generator().manual_seed(0))
        torch.save((latents, flow.decode(latents, dtype=torch.float64)), path)

    @torch.no_grad()
    def decode(self, name: str, path: str, accuracy: Any = None, steps: int = 1, seed: int = 0) -> float:
        """Seconds to decode the latents of a file, in the flow's own precision."""
        flow, (latents, _) = models.flow_of(self.models[name].eval()), torch.load(path)
        options = _decode_options(flow, accuracy)
        start = time.perf_counter()
        for _ in range(steps):
            flow.decode(latents, **options)
        return (time.perf_counter() - start) / steps

    @torch.no_grad()
    def error(self, name: str, path: str, accuracy: Any = None) -> list[float]:
        """Largest and mean absolute difference from this revision's decoding in float64."""
        flow, (latents, exact) = models.flow_of(self.models[name].eval()), torch.load(path)
        if models.IS_OLD:
            exact = flow.decode(latents, exact=True)
        error = (flow.decode(latents, **_decode_options(flow, accuracy)) - exact).abs()
        return [error.max().item(), error.mean().item()]

    def _step(self, name: str) -> None:
        model = self.models[name]
        model.zero_grad(set_to_none=True)
        (-models.log_prob(model, self.data[name])).mean().backward()


def _decode_options(flow: Any, accuracy: Any) -> dict[str, Any]:
    known = inspect.signature(flow.decode).parameters
    if "exact" in known:  # the older option that decodes in float64
        return {"exact": False}
    return {"accuracy": accuracy} if "accuracy" in known and accuracy is not None else {}


def main() -> None:
    """Answer requests until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    sys.stdout = sys.stderr  # nothing else may write to the answers
    worker = Worker()
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps(getattr(worker, name)(**arguments)), file=answers, flush=True)


if __name__ == "__main__":
    main()
