"""Lipschitz constants of the blocks of a trained residual flow: ``python benchmarks/lipschitz.py CHECKPOINT``.

For each residual block x + g(x): the product of the spectral norms of the convolutions of g, which bounds its Lipschitz
constant; the largest and the median singular value of its Jacobian at test images; and its log-determinant per value,
in bits. It uses 16 dequantized test images. Everything is computed exactly, in float64.
"""

import math
import sys
from functools import partial
from typing import Any

import torch
from models import with_test_images
from torch import Tensor

from lightning_flows.nets.linearization import linearize
from lightning_flows.nets.spectral_norm import NormalizedConv2d, bind
from lightning_flows.transforms import ResidualBlock
from lightning_flows.transforms.base import Reported

NUM_IMAGES = 16


def norm_bound(block: ResidualBlock, x: Tensor) -> float:
    """Product of the spectral norms of the convolutions, as matrices."""
    bound, size = 1.0, x.shape[2:]
    for conv in block.function.modules():
        if isinstance(conv, NormalizedConv2d):
            unit = torch.eye(conv.kernel().shape[1] * size.numel(), dtype=x.dtype).unflatten(1, (-1, *size))
            bound *= float(torch.linalg.matrix_norm((conv(unit) - conv.bias[:, None, None]).flatten(1), 2))
    return bound


def jacobians(block: ResidualBlock, x: Tensor) -> Tensor:
    """Jacobians of g at images ``(B, C, H, W)``: ``(B, D, D)``."""
    pull = linearize(bind(block.function), x).pull
    units = torch.eye(x[0].numel(), dtype=x.dtype).unflatten(1, x.shape[1:])
    return torch.stack([pull(unit.expand_as(x)).flatten(1) for unit in units], 1)


@torch.no_grad()
def main(path: str) -> None:
    model, images = with_test_images(path, NUM_IMAGES)
    model.double()
    inputs: dict[ResidualBlock, Tensor] = {}
    blocks = [module for module in model.flow.modules() if isinstance(module, ResidualBlock)]

    def keep(block: ResidualBlock, x: Tensor, context: Any = None) -> Reported:
        inputs[block] = x
        return type(block).forward_reported(block, x, context)

    for block in blocks:
        block.forward_reported = partial(keep, block)  # type: ignore[method-assign]
    model.flow.encode(images.double())
    print("| block | event | bound of the norm | largest singular value | median | log-determinant (bits per value) |")
    print("|---|---|---|---|---|---|")
    for number, block in enumerate(blocks, 1):
        jacobian = jacobians(block, inputs[block])
        values = torch.linalg.svdvals(jacobian)
        log_det = torch.linalg.slogdet(torch.eye(jacobian.shape[1], dtype=jacobian.dtype) + jacobian)[1]
        bits = float(log_det.mean()) / jacobian.shape[1] / math.log(2)
        event = "x".join(map(str, inputs[block].shape[1:]))
        bound = norm_bound(block, inputs[block])
        print(f"| {number} | {event} | {bound:.3f} | {values.max():.3f} | {values.median():.3f} | {bits:.3f} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
