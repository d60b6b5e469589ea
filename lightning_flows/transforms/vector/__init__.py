"""Bijections of vectors ``(B, D)``."""

from lightning_flows.transforms.actnorm import VectorActNorm
from lightning_flows.transforms.vector.householder import VectorHouseholder
from lightning_flows.transforms.vector.linear_exponential import LinearExponential
from lightning_flows.transforms.vector.masked_autoregressive import MaskedAutoregressive
from lightning_flows.transforms.vector.permutation import Permutation, Reversal
from lightning_flows.transforms.vector.standardize import Standardize

__all__ = [
    "LinearExponential",
    "MaskedAutoregressive",
    "Permutation",
    "Reversal",
    "Standardize",
    "VectorActNorm",
    "VectorHouseholder",
]
