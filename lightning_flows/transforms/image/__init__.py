"""Bijections of images ``(B, C, H, W)``."""

from lightning_flows.transforms.actnorm import ActNorm
from lightning_flows.transforms.image.autoregressive_conv import AutoregressiveConv
from lightning_flows.transforms.image.conv1x1 import Conv1x1, Householder
from lightning_flows.transforms.image.conv_exponential import ConvExponential
from lightning_flows.transforms.image.conv_sylvester import ConvSylvester
from lightning_flows.transforms.image.coupling import AffineCoupling
from lightning_flows.transforms.image.layout import Flip, Squeeze
from lightning_flows.transforms.image.mixing import mixing_layer
from lightning_flows.transforms.image.woodbury import Woodbury

__all__ = [
    "ActNorm",
    "AffineCoupling",
    "AutoregressiveConv",
    "Conv1x1",
    "ConvExponential",
    "ConvSylvester",
    "Flip",
    "Householder",
    "Squeeze",
    "Woodbury",
    "mixing_layer",
]
