"""Bijections with their log-determinants."""

from lightning_flows.functional.fixed_point import InverseReport
from lightning_flows.transforms.affine import Affine, Bias
from lightning_flows.transforms.base import Transform
from lightning_flows.transforms.compose import Compose
from lightning_flows.transforms.graph import (
    GraphActNorm,
    GraphCoupling,
    GraphExponential,
    GraphTransform,
    InterleavedExponentials,
    SetAutoregressiveCoupling,
)
from lightning_flows.transforms.image import (
    ActNorm,
    AffineCoupling,
    AutoregressiveConv,
    Conv1x1,
    ConvExponential,
    ConvSylvester,
    Flip,
    Householder,
    Squeeze,
    Woodbury,
    mixing_layer,
)
from lightning_flows.transforms.invert import Invert
from lightning_flows.transforms.linear import LinearCompose, LinearTransform
from lightning_flows.transforms.reshape import Reshape
from lightning_flows.transforms.residual import LogDetReport, ResidualBlock
from lightning_flows.transforms.sigmoid import Sigmoid
from lightning_flows.transforms.sylvester import GeneralizedSylvester

__all__ = [
    "ActNorm",
    "Affine",
    "AffineCoupling",
    "AutoregressiveConv",
    "Bias",
    "Compose",
    "Conv1x1",
    "ConvExponential",
    "ConvSylvester",
    "Flip",
    "GeneralizedSylvester",
    "GraphActNorm",
    "GraphCoupling",
    "GraphExponential",
    "GraphTransform",
    "Householder",
    "InterleavedExponentials",
    "InverseReport",
    "Invert",
    "LinearCompose",
    "LinearTransform",
    "LogDetReport",
    "Reshape",
    "ResidualBlock",
    "SetAutoregressiveCoupling",
    "Sigmoid",
    "Squeeze",
    "Transform",
    "Woodbury",
    "mixing_layer",
]
