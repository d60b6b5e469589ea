"""From whole-numbered pixels to the reals."""

from lightning_flows.dequantization.base import Dequantization
from lightning_flows.dequantization.uniform import UniformDequantization

__all__ = ["Dequantization", "UniformDequantization"]
