"""Parameters of Table 1's models, full and reduced, without allocating them: ``python benchmarks/parameters.py``.

For images of 3x32x32.
"""

from typing import Any

import torch
from models import REDUCED, build

from lightning_flows.app.commands.experiments import GROWTH


def count(name: str, *configs: str, **options: Any) -> int:
    """Parameters of a model on the meta device."""
    with torch.device("meta"):
        module = build(name, *configs, dequantization=options, **options)
    return sum(p.numel() for p in module.parameters())


def main() -> None:
    for kind, growth in GROWTH.items():
        name = f"table1/{kind}.yaml"
        full, reduced = count(name), count(name, *REDUCED, net={"growth": growth})
        print(f"{name:30} {full / 1e6:7.3f} million; reduced {reduced / 1e6:.3f} million")


if __name__ == "__main__":
    main()
