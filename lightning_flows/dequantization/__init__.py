"""From whole-numbered pixels to the reals."""

from lightning_flows.dequantization.base import Dequantization
from lightning_flows.dequantization.dequantized_flow import DequantizedFlow, Samples
from lightning_flows.dequantization.evidence import Evidence
from lightning_flows.dequantization.uniform import UniformDequantization
from lightning_flows.dequantization.variational import VariationalDequantization

__all__ = [
    "Dequantization",
    "DequantizedFlow",
    "Evidence",
    "Samples",
    "UniformDequantization",
    "VariationalDequantization",
]
