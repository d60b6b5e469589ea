"""Parameters of Table 1's models, whole and reduced, without allocating them: ``python benchmarks/parameters.py``.

For images of 3x32x32.
"""

import importlib

import torch

from lightning_flows.app.configs import load_configs
from lightning_flows.transforms.image.mixing import MIXINGS

SHAPE = (3, 32, 32)


def build(*names: str) -> torch.nn.Module:
    """The model of a config and its overlays, on the meta device."""
    options = load_configs(*names)["model"]
    module, _, kind = options["class_path"].rpartition(".")
    with torch.device("meta"):
        return getattr(importlib.import_module(module), kind)(SHAPE, **options["init_args"])


def main() -> None:
    for name in (f"table1/{kind}.yaml" for kind in MIXINGS):
        whole, reduced = (sum(p.numel() for p in build(*files).parameters()) for files in ((name,), (name, "cpu.yaml")))
        print(f"{name:30} {whole / 1e6:7.3f} million; with cpu.yaml {reduced / 1e6:.3f} million")


if __name__ == "__main__":
    main()
