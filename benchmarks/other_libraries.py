"""What check_transform finds in the layers of normflows, nflows, zuko and FrEIA that are installed.

python benchmarks/other_libraries.py            # all layers: failed mathematical checks
python benchmarks/other_libraries.py --purity   # also those of purity and devices
"""

import argparse
import importlib.metadata

import torch
from other_layers import LAYERS, Layer
from torch import nn

from lightning_flows.functional.streams import forked
from lightning_flows.testing import CheckError, adapt, check_transform
from lightning_flows.testing.adapters import ZukoLayer

OTHERS = (
    *("inverse_gradient", "repeatable", "state", "arguments", "memory", "random", "settings"),
    *("batch_sizes", "layouts", "state_dict", "deepcopy", "train", "meta"),
)
"""Checks that run only with --purity."""


def built(layer: Layer) -> nn.Module:
    """The layer in float64, initialized by its data, with small noise on its parameters."""
    with forked(0, layer.name):
        module = adapt(layer.build()).double()
        with torch.no_grad():
            module(layer.data())
            for name, parameter in module.named_parameters():
                if parameter.requires_grad and name not in layer.constrained:
                    parameter.add_(0.1 * torch.randn_like(parameter))
    return module


def skipped(module: nn.Module, options: argparse.Namespace) -> tuple[str, ...]:
    """Names of checks to skip; tensors of a transformation that is not a module stay in float64."""
    fixed = isinstance(module, ZukoLayer) and not isinstance(module.transform, nn.Module)
    return (() if options.purity else OTHERS) + (("dtypes", "meta") if fixed else ())


def result(layer: Layer, options: argparse.Namespace) -> str:
    """What the checks of a layer find, in a line each."""
    try:
        module = built(layer)
        skip = skipped(module, options)
        check_transform(module, layer.data(), skip=skip, tolerance=1e-6, inverse_tolerance=1e-4)
    except CheckError as error:
        return "\n".join(f"    {fault.check}: {fault.message}" for fault in error.faults)
    except Exception as error:
        return f"    could not be built: {type(error).__name__}: {error}".partition("\n")[0]
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--purity", action="store_true", help="also check purity, copies, dtypes and devices")
    parser.add_argument("--only", default="", help="only layers whose names contain this")
    options = parser.parse_args()
    for library, layers in LAYERS.items():
        try:
            version = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            print(f"{library} is not installed")
            continue
        selected = [layer for layer in layers() if options.only in layer.name]
        print(f"{library} {version}: {len(selected)} layers")
        for layer in selected:
            if found := result(layer, options):
                print(f"  {layer.name}\n{found}")


if __name__ == "__main__":
    main()
