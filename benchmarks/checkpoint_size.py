"""Size of a checkpoint without optimizer, relative to its parameters: ``python benchmarks/checkpoint_size.py``.

Measures the checkpoint passed as an argument; by default, builds the paper's model.
"""

import os
import sys
import tempfile

import torch
from models import build

from lightning_flows.checkpoints import read_checkpoint
from lightning_flows.modules import load_model
from lightning_flows.nets import MaskedConv2d


def main(path: str | None = None) -> None:
    model = load_model(path) if path else build("model/sylvester.yaml")
    checkpoint = read_checkpoint(path) if path else {"state_dict": model.state_dict()}
    checkpoint.pop("optimizer_states", None)
    with tempfile.NamedTemporaryFile() as file:
        torch.save(checkpoint, file.name)
        size = os.path.getsize(file.name)
    parameters = sum(p.numel() * p.element_size() for p in model.parameters())
    masked = sum(int((m.mask == 0).sum()) for m in model.modules() if isinstance(m, MaskedConv2d))  # type: ignore
    count = sum(p.numel() for p in model.parameters())
    print(f"{count / 1e6:.1f} million parameters, {(count - masked) / 1e6:.1f} of them not masked out")
    print(f"checkpoint {size / 1e6:.1f} MB, parameters {parameters / 1e6:.1f} MB, ratio {size / parameters:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
