"""Size of a checkpoint without the optimiser against that of the parameters: ``python benchmarks/checkpoint_size.py``.

Without an argument the paper's model is built; with one, the checkpoint of that name is measured.
"""

import os
import sys
import tempfile

import torch

from lightning_flows.modules import CSF, load_model, read_checkpoint
from lightning_flows.nets import MaskedConv2d


def main(path: str | None = None) -> None:
    model = load_model(path) if path else CSF((3, 32, 32))
    checkpoint = read_checkpoint(path) if path else {"state_dict": model.state_dict()}
    checkpoint.pop("optimizer_states", None)
    with tempfile.NamedTemporaryFile() as file:
        torch.save(checkpoint, file.name)
        size = os.path.getsize(file.name)
    parameters = sum(p.numel() * p.element_size() for p in model.parameters())
    masked = sum(int((m.mask == 0).sum()) for m in model.modules() if isinstance(m, MaskedConv2d))
    count = sum(p.numel() for p in model.parameters())
    print(f"{count / 1e6:.1f} million parameters, {(count - masked) / 1e6:.1f} of them not masked out")
    print(f"checkpoint {size / 1e6:.1f} MB, parameters {parameters / 1e6:.1f} MB, ratio {size / parameters:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
