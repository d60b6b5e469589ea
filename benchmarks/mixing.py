"""Runtime of the four mixing layers of Table 1 relative to 1x1: ``python benchmarks/mixing.py [--runs FOLDER]``.

Four flows of equal parameters take turns in one process, so that a busy machine slows all alike. A training step is
forward, backward and the optimiser's step; sampling draws a batch of images. Medians over the rounds are printed, and
the median over rounds of the ratio to 1x1 in the same round.

``--size reduced`` is configs/table1 with cpu.yaml; ``--size full`` has the paper's dense nets (depth 8, growth 64 or
63) and two steps a level. ``--runs`` takes trained weights from runs that ``table 1 --fit`` made at the reduced size.
"""

import argparse
import importlib
from functools import partial
from pathlib import Path

import torch
from timing import compare

from lightning_flows.app.configs import load_configs
from lightning_flows.modules import FlowModule, load_model
from lightning_flows.transforms.image.mixing import MIXINGS

SHAPE = (3, 32, 32)


def build(kind: str, size: str) -> FlowModule:
    """A flow with parameters moved from their start, so that nothing is the identity."""
    options = load_configs(f"table1/{kind}.yaml", *(["cpu.yaml"] if size == "reduced" else []))["model"]
    overlay = {"steps_per_level": 2, "dequantization_steps": 2} if size == "full" else {}
    module, _, name = options["class_path"].rpartition(".")
    flow = getattr(importlib.import_module(module), name)(SHAPE, **options["init_args"] | overlay)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    return flow


def load(kind: str, folder: Path) -> FlowModule:
    """The first trained flow of a kind."""
    return load_model(sorted(folder.glob(f"{kind}_*/version_*/checkpoints/best.ckpt"))[0])


def train_step(flow: FlowModule, optimizer: torch.optim.Optimizer, images: torch.Tensor) -> None:
    optimizer.zero_grad()
    (-flow(images)).mean().backward()
    optimizer.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=["reduced", "full"], default="reduced")
    parser.add_argument("--runs", type=Path, help="folder of trained runs; sets the size")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=11)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    flows = {kind: load(kind, arguments.runs) if arguments.runs else build(kind, arguments.size) for kind in MIXINGS}
    size = f"trained, {arguments.runs}" if arguments.runs else arguments.size
    print(f"{size}; batch {arguments.batch} of {SHAPE}; {torch.get_num_threads()} threads")
    images = torch.randint(0, 256, (arguments.batch, *SHAPE), dtype=torch.uint8)
    for flow in flows.values():
        flow.eval()
    sampling = {kind: partial(flow.sample, arguments.batch) for kind, flow in flows.items()}
    compare("sampling", sampling, arguments.repeats)
    training = {}
    for kind, flow in flows.items():
        optimizer = torch.optim.Adamax(flow.train().parameters(), lr=1e-6)
        training[kind] = partial(train_step, flow, optimizer, images)
    compare("training", training, arguments.repeats)


if __name__ == "__main__":
    main()
