"""Uniform dequantisation."""

import torch
from torch import Tensor

from lightning_flows.dequantization.base import Dequantization


class UniformDequantization(Dequantization):
    """u uniform on [0, 1), so log q(u | x) = 0. Source: Theis, van den Oord and Bethge, 2016."""

    def sample(self, x: Tensor, *, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draw u and zeros."""
        dtype = torch.get_default_dtype()
        u = torch.rand(x.shape, generator=generator, device=x.device, dtype=dtype)
        return u, torch.zeros(x.shape[0], device=x.device, dtype=dtype)
