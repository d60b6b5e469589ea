"""Peak memory of a training step in the flows of Table 2: ``python benchmarks/memory.py``.

The memory that grows with depth holds the tensors that autograd saves for the backward pass. Prints the peak of their
bytes, each storage counted once and parameters excluded, including derivatives within the residual flow's
log-determinants, in MiB and as a multiple of the Convolutional Sylvester Flow's.
"""

import argparse

import torch
from models import SHAPE, build

from lightning_flows.modules import FlowModule


def saved_bytes(module: FlowModule, images: torch.Tensor, *, seed: int) -> int:
    """Bytes of the distinct storages that the graph of the loss holds."""
    own = {p.untyped_storage().data_ptr() for p in module.parameters()}
    alive: dict[int, int] = {}
    peak = 0

    class Saved:
        """A saved tensor, counted while the graph holds it."""

        def __init__(self, tensor: torch.Tensor) -> None:
            nonlocal peak
            self.tensor = tensor
            self.key = tensor.untyped_storage().data_ptr()
            if self.key not in own:
                counts[self.key] = counts.get(self.key, 0) + 1
                alive[self.key] = tensor.untyped_storage().nbytes()
                peak = max(peak, sum(alive.values()))

        def __del__(self) -> None:
            if self.key in counts:
                counts[self.key] -= 1
                if counts[self.key] == 0:
                    del counts[self.key]
                    alive.pop(self.key, None)

    counts: dict[int, int] = {}
    torch.manual_seed(seed)  # the same numbers of terms for all
    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
        loss = -module(images).mean()
        loss.backward()
    return peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=4, help="steps per level")
    parser.add_argument("--hidden", type=int, default=96, help="hidden channels")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    sizes = {"steps_per_level": arguments.steps, "hidden_channels": arguments.hidden}
    sizes |= {"split": {"width": 32, "depth": 2, "growth": 32}}
    modules = {
        "Convolutional Sylvester": build("model/sylvester.yaml", **sizes),
        "coupling": build("model/coupling.yaml", **sizes),
        "residual, plain autograd": build("model/residual.yaml", gradient="autograd", **sizes),
        "residual, Neumann gradient": build("model/residual.yaml", gradient="neumann", **sizes),
    }
    images = torch.randint(0, 256, (arguments.batch, *SHAPE), dtype=torch.uint8)
    print(f"batch {arguments.batch} of {SHAPE}; {sizes}; mean over 5 seeds: the residual flow's terms are random")
    first = None
    for name, module in modules.items():
        size = sum(saved_bytes(module.train(), images, seed=seed) for seed in range(5)) / 5
        first = first or size
        print(f"{name:28} {size / 2**20:8.1f} MiB  {size / first:5.2f}", flush=True)


if __name__ == "__main__":
    main()
