"""A small flow over images, and images."""

import torch

from lightning_flows.modules import ImageFlowModule
from tests.small_modules import image_module

SHAPE = (3, 8, 8)


def waves(*shape: int) -> torch.Tensor:
    """Images of waves, uint8."""
    i = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return (127 + 100 * torch.sin(i * i.sqrt() * 0.01)).to(torch.uint8).reshape(shape)


@torch.no_grad()
def small_module() -> ImageFlowModule:
    """A Sylvester flow in eval mode and float64, whose parameters and buffers are waves."""
    module = image_module(SHAPE)
    for i, tensor in enumerate([*module.parameters(), *(b for b in module.buffers() if b.is_floating_point())]):
        wave = torch.sin(torch.arange(tensor.numel(), dtype=torch.float64) * 0.9 + i)
        tensor.copy_((0.05 * wave).reshape(tensor.shape))
    return module.double().eval()
