"""Bijections from data to latent, each with its log-determinant."""

from lightning_flows.transforms.actnorm import ActNorm
from lightning_flows.transforms.affine import Affine, Bias
from lightning_flows.transforms.autoregressive_conv import AutoregressiveConv
from lightning_flows.transforms.base import Transform
from lightning_flows.transforms.compose import Compose
from lightning_flows.transforms.conv1x1 import Conv1x1
from lightning_flows.transforms.conv_exponential import ConvExponential
from lightning_flows.transforms.coupling import AffineCoupling
from lightning_flows.transforms.flip import Flip
from lightning_flows.transforms.graph_actnorm import GraphActNorm
from lightning_flows.transforms.graph_coupling import GraphCoupling
from lightning_flows.transforms.graph_exponential import GraphExponential
from lightning_flows.transforms.householder import Householder
from lightning_flows.transforms.interleaved_exponentials import InterleavedExponentials
from lightning_flows.transforms.invert import Invert
from lightning_flows.transforms.linear import LinearCompose, LinearOperator, LinearTransform
from lightning_flows.transforms.linear_sylvester import LinearSylvesterFunction
from lightning_flows.transforms.mixing import MIXINGS, Mixing, mixing_layer
from lightning_flows.transforms.reshape import Reshape
from lightning_flows.transforms.residual import ResidualBlock
from lightning_flows.transforms.set_autoregressive import SetAutoregressiveCoupling
from lightning_flows.transforms.sigmoid import Sigmoid
from lightning_flows.transforms.squeeze import Squeeze
from lightning_flows.transforms.sylvester import ConvSylvester, GeneralizedSylvester, SylvesterFunction
from lightning_flows.transforms.woodbury import Woodbury

__all__ = [
    "MIXINGS",
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
    "Householder",
    "InterleavedExponentials",
    "Invert",
    "LinearCompose",
    "LinearOperator",
    "LinearSylvesterFunction",
    "LinearTransform",
    "Mixing",
    "Reshape",
    "ResidualBlock",
    "SetAutoregressiveCoupling",
    "Sigmoid",
    "Squeeze",
    "SylvesterFunction",
    "Transform",
    "Woodbury",
    "mixing_layer",
]
