"""Results of the authors' implementation, and the names of its parameters here."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_flows.nets import NormalizedConv2d

FOLDERS = Path(__file__).with_suffix(""), Path(__file__).parents[2] / "shared" / "golden"
LARGE = {"convexp_c66_householder", "coupling_dense_nogate", "coupling_model"}
"""Files that are too large for the repository; tests that need them are skipped without the shared folder."""
HEADS = ("t1", "s1", "t2", "s2")


class Entry(NamedTuple):
    """A tensor of the authors: its name, our name, and which of how many parts of our tensor it is."""

    theirs: str
    ours: str
    part: int = 0
    parts: int = 1

    def cut(self, value: Tensor) -> Tensor:
        """Select the part of our tensor."""
        if self.parts == 1:
            return value
        return value.chunk(self.parts, dim=1 if self.ours.endswith("vector") else 0)[self.part]

    def convert(self, value: Tensor, like: Tensor) -> Tensor:
        """Convert their tensor to the shape of ours: a causal 3x3 kernel drops its empty first row."""
        if value.ndim == 4 and value.shape[2] == 3 and like.shape[2] == 2:
            value = value[:, :, 1:]
        return value.reshape(like.shape).to(like.dtype)


def names() -> set[str]:
    """Names of all files."""
    return {path.stem for folder in FOLDERS for path in folder.glob("*.npz")}


def load(name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a file and its configuration; skips if a large file is missing."""
    path = next((path for folder in FOLDERS if (path := folder / f"{name}.npz").exists()), None)
    if path is None and name in LARGE:
        pytest.skip(f"{FOLDERS[1] / name}.npz is absent")
    with np.load(path or FOLDERS[0] / f"{name}.npz") as file:
        tensors = {key: torch.from_numpy(np.array(file[key])) for key in file.files if key != "config"}
        return tensors, json.loads(str(file["config"]))


def load_parameters(module: nn.Module, tensors: Mapping[str, Tensor], entries: list[Entry]) -> None:
    """Load their parameters into our module; each of ours must get a value, except 1x1 power iterations."""
    state = {name: torch.full_like(value.double(), torch.nan) for name, value in module.state_dict().items()}
    convs = {f"{name}.": child for name, child in module.named_modules() if isinstance(child, NormalizedConv2d)}
    for prefix, child in convs.items():  # stored without what is always zero
        state[f"{prefix}weight"] = torch.full(child.packing.shape, torch.nan, dtype=torch.float64)
    for entry in entries:
        part = entry.cut(state[entry.ours])
        part.copy_(entry.convert(tensors[f"param/{entry.theirs}"], part))
    for prefix, child in convs.items():
        packed = state[f"{prefix}weight"] = child.packing.pack(state[f"{prefix}weight"])
        if child.packing.edges:
            kernel = child.packing.unpack(packed * child.mask)[:, :, 0, 0]
            vector = state[f"{prefix}spectral_norm.vector"]
            vector.copy_(torch.linalg.svd(kernel).Vh[0].reshape(vector.shape))
    missing = [name for name, value in state.items() if value.isnan().any()]
    assert not missing, missing
    module.load_state_dict({name: value.to(module.state_dict()[name].dtype) for name, value in state.items()})


def gradient(module: nn.Module, name: str) -> Tensor:
    """Gradient of a parameter, with zeros for what is not stored."""
    child = module.get_submodule(name.rpartition(".")[0])
    value = module.get_parameter(name).grad
    return child.packing.unpack(value) if isinstance(child, NormalizedConv2d) and name.endswith("weight") else value


def dense_entries(theirs: str, ours: str, *, depth: int, gated: bool) -> list[Entry]:
    """A dense conditioner with one block."""
    last = f"dense_nns.0.nn.{depth}" + (".conv" if gated else "")
    names = {"first": "first", last: "blocks.0.last", "last": "last"}
    names |= {f"dense_nns.0.nn.{i}.nn.{j}": f"blocks.0.layers.{i}.{j}" for i in range(depth) for j in (0, 2)}
    return [
        Entry(f"{theirs}.{one}.{kind}", f"{ours}.{other}.{kind}")
        for one, other in names.items()
        for kind in ("weight", "bias")
    ]


def plain_entries(theirs: str, ours: str) -> list[Entry]:
    """A plain conditioner of three convolutions."""
    return [Entry(f"{theirs}.{i}.{kind}", f"{ours}.{i}.{kind}") for i in (0, 2, 4) for kind in ("weight", "bias")]


def autoregressive_entries(ours: str) -> list[Entry]:
    """The masked net of a Sylvester layer."""
    entries = []
    for theirs, name in (("nn.0", "input"), ("nn.2", "hidden")):
        entries += [
            Entry(f"{theirs}.weight_orig", f"{ours}.{name}.weight"),
            Entry(f"{theirs}.bias", f"{ours}.{name}.bias"),
        ]
    entries.append(Entry("nn.0.weight_v", f"{ours}.input.spectral_norm.vector"))
    for i, head in enumerate(HEADS):
        kinds = {"weight_orig": "weight", "bias": "bias", "weight_u": "spectral_norm.vector"}
        entries += [Entry(f"linear_{head}.{one}", f"{ours}.heads.{other}", i, 4) for one, other in kinds.items()]
    return entries
