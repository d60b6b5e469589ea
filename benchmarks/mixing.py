"""Runtime of the four mixing layers of Table 1 relative to 1x1: ``python benchmarks/mixing.py [--runs FOLDER]``.

Four flows with about the same number of parameters alternate in one process, so that a busy machine slows all equally.
A training step consists of forward, backward and the optimizer step; sampling draws a batch of images. Prints medians
over rounds, and the median over rounds of the ratio to 1x1 in the same round.

``--size reduced`` is the size of ``table 1 --fit``; ``--size full`` has the paper's dense nets and two steps per level.
``--runs`` loads trained weights from runs of ``table 1 --fit``.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import torch
from models import REDUCED, SHAPE, build
from timing import compare, train_step

from lightning_flows.app.commands.experiments import GROWTH
from lightning_flows.modules import FlowModule, load_model
from lightning_flows.training.measures import device_name
from lightning_flows.transforms.image.mixing import MIXINGS


def moved(kind: str, size: str) -> FlowModule:
    """A flow with perturbed parameters, so that no layer is the identity."""
    growth = {"net": {"growth": GROWTH[kind]}} if size == "reduced" else {}
    overlay: dict[str, Any] = growth or {"steps_per_level": 2}
    configs = [f"table1/{kind}.yaml", *(REDUCED if growth else [])]
    module = build(*configs, dequantization=growth or {"num_steps": 2}, **overlay)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    return module


def load(kind: str, folder: Path) -> FlowModule:
    """The first trained flow of a kind."""
    return load_model(sorted(folder.glob(f"{kind}_*/version_*/checkpoints/best.ckpt"))[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=["reduced", "full"], default="reduced")
    parser.add_argument("--runs", type=Path, help="folder of trained runs; sets the size")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=11)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    flows = {kind: load(kind, arguments.runs) if arguments.runs else moved(kind, arguments.size) for kind in MIXINGS}
    size = f"trained, {arguments.runs}" if arguments.runs else arguments.size
    print(f"{size}; batch {arguments.batch} of {SHAPE}; {device_name(torch.device('cpu'))}")
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
