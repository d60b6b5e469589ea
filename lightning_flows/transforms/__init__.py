"""Bijections from data to latent, each with its log-determinant."""

from lightning_flows.transforms.affine import Affine, Bias
from lightning_flows.transforms.base import Transform
from lightning_flows.transforms.compose import Compose
from lightning_flows.transforms.graph.actnorm import GraphActNorm
from lightning_flows.transforms.graph.coupling import GraphCoupling
from lightning_flows.transforms.graph.exponential import GraphExponential
from lightning_flows.transforms.graph.interleaved_exponentials import InterleavedExponentials
from lightning_flows.transforms.graph.set_autoregressive import SetAutoregressiveCoupling
from lightning_flows.transforms.image.actnorm import ActNorm
from lightning_flows.transforms.image.autoregressive_conv import AutoregressiveConv
from lightning_flows.transforms.image.conv1x1 import Conv1x1
from lightning_flows.transforms.image.conv_exponential import ConvExponential
from lightning_flows.transforms.image.coupling import AffineCoupling
from lightning_flows.transforms.image.flip import Flip
from lightning_flows.transforms.image.householder import Householder
from lightning_flows.transforms.image.mixing import MIXINGS, Mixing, mixing_layer
from lightning_flows.transforms.image.squeeze import Squeeze
from lightning_flows.transforms.image.woodbury import Woodbury
from lightning_flows.transforms.invert import Invert
from lightning_flows.transforms.linear import LinearCompose, LinearOperator, LinearTransform
from lightning_flows.transforms.linear_sylvester import LinearSylvesterFunction
from lightning_flows.transforms.reshape import Reshape
from lightning_flows.transforms.residual import ResidualBlock
from lightning_flows.transforms.sigmoid import Sigmoid
from lightning_flows.transforms.sylvester import ConvSylvester, GeneralizedSylvester, SylvesterFunction

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
