"""Bijections of vectors ``(B, D)``."""

from lightning_flows.transforms.actnorm import VectorActNorm
from lightning_flows.transforms.vector.amortized import Amortized
from lightning_flows.transforms.vector.autoregressive import InverseAutoregressive, MaskedAutoregressive
from lightning_flows.transforms.vector.householder import VectorHouseholder
from lightning_flows.transforms.vector.linear_exponential import LinearExponential
from lightning_flows.transforms.vector.original_sylvester import OriginalSylvester
from lightning_flows.transforms.vector.permutation import Permutation, Reversal
from lightning_flows.transforms.vector.planar import Planar
from lightning_flows.transforms.vector.standardize import Standardize

__all__ = [
    "Amortized",
    "InverseAutoregressive",
    "LinearExponential",
    "MaskedAutoregressive",
    "OriginalSylvester",
    "Permutation",
    "Planar",
    "Reversal",
    "Standardize",
    "VectorActNorm",
    "VectorHouseholder",
]
