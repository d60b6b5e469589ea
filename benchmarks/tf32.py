"""What TF32 does to a trained flow: ``python benchmarks/tf32.py CHECKPOINT``.

Rounds the inputs of float32 convolutions and matrix products to the 10 bits of TF32, on any device: nowhere, where the
library permits it (in the nets of densities, not in round trips), and everywhere. Prints the largest and the mean error
of a round trip of 32 dequantized test images, in pixel levels, and of log-likelihoods against float64, in bits per
dimension.
"""

import math
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_flows.errors import ConvergenceError
from lightning_flows.functional.precision import is_reduced

NUM_IMAGES = 32
FACTORS = {"convolution": (0, 1), "mm": (0, 1), "bmm": (0, 1), "mv": (0, 1), "addmm": (1, 2), "baddbmm": (1, 2)}
"""Operators, and which of their arguments are multiplied."""


def to_tf32(x: Tensor) -> Tensor:
    """Round float32 values to 10 bits after the leading one.

    >>> to_tf32(torch.tensor([1 + 2**-10, 1 + 2**-12])).tolist()
    [1.0009765625, 1.0]
    """
    return ((x.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


class TF32(TorchDispatchMode):
    """Multiply as TF32 does: everywhere, or where the settings of this device permit it."""

    def __init__(self, *, everywhere: bool = False) -> None:
        super().__init__()
        self.everywhere = everywhere

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        factors = FACTORS.get(function.name().removeprefix("aten::").partition(".")[0], ())
        if factors and (self.everywhere or is_reduced("cpu")):
            args = tuple(
                to_tf32(arg) if i in factors and arg.dtype == torch.float32 else arg for i, arg in enumerate(args)
            )
        return function(*args, **(kwargs or {}))


@torch.no_grad()
def main(path: str) -> None:
    from models import with_test_images  # beside this script; others import its classes

    model, x = with_test_images(path, NUM_IMAGES)
    exact = model.flow.double().log_prob(x.double())
    flow, scale = model.flow.float(), math.prod(model.event_shape) * math.log(2)
    v = x.float().contiguous(memory_format=torch.channels_last)
    settings: Any = torch.backends.mkldnn
    settings.conv.fp32_precision = settings.matmul.fp32_precision = "tf32"
    print("TF32 in     largest error (levels)     mean     error of bpd")
    modes: dict[str, AbstractContextManager[Any]] = {"nothing": nullcontext(), "nets": TF32()}
    for name, mode in {**modes, "everything": TF32(everywhere=True)}.items():
        with mode:
            bpd = (flow.log_prob(v) - exact).abs().max().item() / scale
            try:
                error = (flow.decode(flow.encode(v), accuracy="exact") - v).abs()
                text = f"{error.max():22.1e} {error.mean():8.1e}"
            except ConvergenceError:
                text = f"{'no convergence':>31}"
        print(f"{name:11} {text} {bpd:16.1e}")


if __name__ == "__main__":
    main(sys.argv[1])
