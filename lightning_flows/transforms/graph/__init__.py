"""Bijections of node features ``(B, N, F)``, with a :class:`Graph` as context."""

from lightning_flows.transforms.actnorm import GraphActNorm
from lightning_flows.transforms.graph.base import GraphTransform
from lightning_flows.transforms.graph.coupling import GraphCoupling
from lightning_flows.transforms.graph.exponential import GraphExponential, InterleavedExponentials
from lightning_flows.transforms.graph.set_autoregressive import SetAutoregressiveCoupling

__all__ = [
    "GraphActNorm",
    "GraphCoupling",
    "GraphExponential",
    "GraphTransform",
    "InterleavedExponentials",
    "SetAutoregressiveCoupling",
]
