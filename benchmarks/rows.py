"""Runtime of the rows of Tables 1 to 3 on small images: ``python benchmarks/rows.py --table 2 --size 8x8``.

All rows of a table have equal parameters and alternate in one process, so that a busy machine slows all equally. A
training step consists of forward, backward and the optimizer step on a batch of the row's own size; sampling draws 64
images. Prints medians over rounds, the median over rounds of the ratio to the first row in the same round, and, for
whole trainings, this ratio for a training step times that of the numbers of steps. All are wall times.

Weights are perturbed, so that no layer is the identity; ``--runs`` loads those of runs of ``table N --fit --size``.
"""

import argparse
import re
from functools import partial
from pathlib import Path

import torch
from models import build, settings
from timing import compare, train_step

from lightning_flows.app.commands.experiments import EXPERIMENTS, OWN, POINTWISE, Experiment
from lightning_flows.app.commands.sizes import SIZES
from lightning_flows.app.commands.small import resized
from lightning_flows.modules import FlowModule, load_model
from lightning_flows.training.measures import device_name

NUM = 64
"""Images of a sample."""
TABLES = {"1": EXPERIMENTS[1], "1_pointwise": POINTWISE, "2": EXPERIMENTS[2] | OWN, "3": EXPERIMENTS[3]}


def moved(experiment: Experiment, shape: tuple[int, ...]) -> FlowModule:
    """A flow with perturbed parameters."""
    module = build(*experiment.layers, event_shape=shape)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    return module


def load(name: str, size: str, folder: Path) -> FlowModule:
    """The first trained flow of a row."""
    found = sorted(folder.glob(f"{name}_{size}_*/version_*/checkpoints/best.ckpt"))
    if not found:
        raise SystemExit(f"{folder} has no checkpoint of {name}: train it with `table --fit`, or choose rows by --only")
    return load_model(found[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", choices=TABLES, default="2")
    parser.add_argument("--size", choices=SIZES, default="8x8")
    parser.add_argument("--only", default="", help="regular expression that the names of the rows contain")
    parser.add_argument("--runs", type=Path, help="folder of trained runs")
    parser.add_argument("--repeats", type=int, default=11)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    shape = (3, *map(int, arguments.size.split("x")))
    rows = {
        k: row for k, row in resized(TABLES[arguments.table], arguments.size).items() if re.search(arguments.only, k)
    }
    if not rows:
        parser.error(f"no row contains {arguments.only!r}: choose from {', '.join(TABLES[arguments.table])}")
    flows = {
        name: load(name, arguments.size, arguments.runs) if arguments.runs else moved(row, shape)
        for name, row in rows.items()
    }
    configs = {name: settings(*row.layers) for name, row in rows.items()}
    print(f"images of {shape}; {device_name(torch.device('cpu'))}")
    for flow in flows.values():
        flow.eval()
    with torch.no_grad():
        compare("sampling", {name: partial(flow.sample, NUM) for name, flow in flows.items()}, arguments.repeats)
    training = {}
    for name, flow in flows.items():
        optimizer = torch.optim.Adam(flow.train().parameters(), lr=1e-6)
        batch_size = configs[name]["data"]["init_args"]["batch_size"]
        images = torch.randint(0, 256, (batch_size, *shape), dtype=torch.uint8)
        training[name] = partial(train_step, flow, optimizer, images)
    ratios = compare("training", training, arguments.repeats)
    steps = {name: config["trainer"]["max_steps"] for name, config in configs.items()}
    for name, ratio in ratios.items():
        whole = ratio * steps[name] / steps[next(iter(steps))]
        print(f"whole training of {name}, {steps[name]} steps: {100 * whole:.1f} %")


if __name__ == "__main__":
    main()
