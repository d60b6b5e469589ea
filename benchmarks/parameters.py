"""Parameters of the models of tables 1 to 3, without allocating them: ``python benchmarks/parameters.py``.

Table 1 at the paper's size and reduced, for images of 3x32x32; then all rows on small images, and by how many percent
the largest model of a table exceeds the smallest.
"""

from typing import Any

import torch
from models import REDUCED, build

from lightning_flows.app.commands.experiments import EXPERIMENTS, GROWTH, OWN, POINTWISE
from lightning_flows.app.commands.sizes import SIZES
from lightning_flows.app.commands.small import resized


def count(*layers: str, **options: Any) -> int:
    """Parameters of a model on the meta device."""
    with torch.device("meta"):
        module = build(*layers, **options)
    return sum(p.numel() for p in module.parameters())


def main() -> None:
    for kind, growth in GROWTH.items():
        name, net = f"table1/{kind}.yaml", {"growth": growth}
        full, reduced = count(name), count(name, *REDUCED, net=net, dequantization={"net": net})
        print(f"{name:30} {full / 1e6:7.3f} million; reduced {reduced / 1e6:.3f} million")
    tables = {"1": EXPERIMENTS[1], "1, pointwise": POINTWISE, "2": EXPERIMENTS[2] | OWN, "3": EXPERIMENTS[3]}
    for size in SIZES:
        shape = (3, *map(int, size.split("x")))
        for table, experiments in tables.items():
            rows = resized(experiments, size).items()
            counts = {name: count(*each.layers, event_shape=shape) for name, each in rows}
            share = max(counts.values()) / min(counts.values()) - 1
            print(f"table {table} at {size}, within {100 * share:.1f} %:")
            for name, number in counts.items():
                print(f"  {name:36} {number:8,}")


if __name__ == "__main__":
    main()
