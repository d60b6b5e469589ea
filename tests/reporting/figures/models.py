"""A small flow over images whose numbers come from no random generator, which CPUs may round differently."""

import torch

from lightning_flows.dequantization import DequantizedFlow, UniformDequantization
from lightning_flows.flows import ConvSylvesterFlow

SHAPE = (3, 8, 8)


def waves(*shape: int) -> torch.Tensor:
    """Images of waves, uint8."""
    i = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return (127 + 100 * torch.sin(i * i.sqrt() * 0.01)).to(torch.uint8).reshape(shape)


@torch.no_grad()
def small_model() -> DequantizedFlow:
    """A Sylvester flow in eval mode, with parameters and buffers that are waves."""
    nets = {"hidden_channels": 12, "split_depth": 1, "split_width": 8, "split_growth": 8}
    flow = ConvSylvesterFlow(SHAPE, num_levels=2, steps_per_level=1, **nets)
    model = DequantizedFlow(flow, UniformDequantization(SHAPE))
    for i, tensor in enumerate([*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())]):
        wave = torch.sin(torch.arange(tensor.numel(), dtype=torch.float64) * 0.9 + i)
        tensor.copy_((0.05 * wave).reshape(tensor.shape))
    return model.double().eval()
