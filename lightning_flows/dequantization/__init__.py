"""Dequantization: from integer to real pixel values."""

from lightning_flows.dequantization.base import Dequantization
from lightning_flows.dequantization.dequantized_flow import BoundTerms, DequantizedFlow
from lightning_flows.dequantization.uniform import UniformDequantization
from lightning_flows.dequantization.variational import VariationalDequantization

__all__ = [
    "BoundTerms",
    "Dequantization",
    "DequantizedFlow",
    "UniformDequantization",
    "VariationalDequantization",
]
