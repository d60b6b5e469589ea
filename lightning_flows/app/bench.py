"""A module on a device, with random data, whose training steps and samples are measured."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_flows.data import FlowDataModule, GraphMoGDataModule
from lightning_flows.errors import UsageError
from lightning_flows.functional.streams import forked, stream
from lightning_flows.modules import FlowModule, GraphFlowModule, ImageFlowModule, VAEModule, VectorFlowModule
from lightning_flows.modules.compiled import CompiledTerms
from lightning_flows.training.measures import bytes_kept, device_name


class Variant(NamedTuple):
    """A mode of training: the context of a step, and its loss as a function of the step's number."""

    context: Callable[[], AbstractContextManager[Any]]
    loss: Callable[[int], Tensor]


class Bench:
    """A module on a device, with random images or vectors, or random nodes of graphs like those of the data.

    Raises: UsageError for data of another kind.
    """

    def __init__(self, module: FlowModule, data: FlowDataModule, device: torch.device) -> None:
        self.module, self.data, self.device = module.to(device).train(), data, device
        made: Any = module.configure_optimizers()
        self.optimizer = made["optimizer"] if isinstance(made, dict) else made
        self.fill(2)
        with torch.no_grad():
            self.loss(0)  # initializes ActNorms

    def fill(self, size: int) -> None:
        """Set the number of items of the batch."""
        shape, batch = self.module.event_shape, {"index": torch.arange(size)}
        if isinstance(self.module, ImageFlowModule | VAEModule):
            num_levels = getattr(self.module, "num_levels", 256)
            batch["image"] = torch.randint(num_levels, (size, *shape), dtype=torch.uint8)
        elif isinstance(self.module, GraphFlowModule):
            batch["nodes"] = torch.randn(size, *shape)
            if isinstance(self.data, GraphMoGDataModule):
                graph = self.data.draw_structure(size, stream(0, "structure of a benchmark"))
                structure = {"adjacency": graph.adjacency, "mask": graph.mask}
                batch |= {name: value for name, value in structure.items() if value is not None}
        elif isinstance(self.module, VectorFlowModule):
            batch["row"] = torch.randn(size, *shape)
        else:
            raise UsageError(
                f"benchmark has no data for {type(self.module).__name__}: use a flow of images, graphs or vectors"
            )
        self.size, self.batch = size, {name: value.to(self.device) for name, value in batch.items()}

    def loss(self, step: int, compiled: CompiledTerms | None = None) -> Tensor:
        """Loss of a training step."""
        with forked(0, "benchmark", step, device=self.device):
            inputs = self.module.training_inputs(self.batch, step)
            terms = compiled(self.module, inputs) if compiled else self.module.training_terms(*inputs)
        return self.module.loss_of(torch.stack(list(terms.values())).sum(0), self.batch).mean()

    def step(self, variant: Variant, step: int) -> None:
        """Forward, backward and the optimizer."""
        self.optimizer.zero_grad(set_to_none=True)
        with variant.context():
            variant.loss(step).backward()
        self.optimizer.step()

    def warm_up(self, variant: Variant) -> None:
        """Take two steps: the first may run eagerly, the second compiles."""
        for _ in range(2):
            self.step(variant, 0)

    def seconds(self, function: Callable[[], object]) -> float:
        """Seconds that a function takes on the device."""
        self._wait()
        start = time.perf_counter()
        function()
        self._wait()
        return time.perf_counter() - start

    def memory(self, variant: Variant) -> int:
        """Bytes of a step: on a GPU their peak beyond those allocated before, elsewhere those kept for the backward."""
        if self.device.type == "cuda":
            self.optimizer.zero_grad(set_to_none=True)
            before = torch.cuda.memory_allocated(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            self.step(variant, 0)
            return torch.cuda.max_memory_allocated(self.device) - before
        with variant.context():
            return bytes_kept(lambda: variant.loss(0), lambda: [*self.module.parameters(), *self.module.buffers()])

    def sample(self, variant: Variant) -> float:
        """Seconds per sampled item."""
        self.module.eval()
        with variant.context(), torch.no_grad():
            seconds = self.seconds(lambda: self.module.sample(self.size))
        self.module.train()
        return seconds / self.size

    def describe(self) -> str:
        """Model, batch and device in a sentence."""
        count = sum(p.numel() for p in self.module.parameters()) / 1e6
        kind = getattr(self.module.model, "flow", self.module.model)
        memory = "peak of a step" if self.device.type == "cuda" else "kept for the backward"
        return (
            f"{type(kind).__name__} of {count:.2f} million parameters; batch {self.size} of {self.module.event_shape}; "
            f"{device_name(self.device)}; torch {torch.__version__}. Memory: {memory}."
        )

    def _wait(self) -> None:
        if self.device.type != "cpu":
            torch.get_device_module(self.device).synchronize()
