"""Conditioner networks of flows, independent of log-determinants."""

from lightning_flows.nets.attention import AttentionSizes
from lightning_flows.nets.convnet import MLP, ContextNet, ConvNet, DenseBlock, DenseNet, DenseSizes
from lightning_flows.nets.graph_attention import GraphAttentionNet, SetAutoregressiveNet
from lightning_flows.nets.linear import NormalizedLinear
from lightning_flows.nets.lipschitz import LipschitzConvNet
from lightning_flows.nets.made import MADE
from lightning_flows.nets.masked_conv import AutoregressiveConvNet, MaskedConv2d
from lightning_flows.nets.pixel_function import PixelFunction
from lightning_flows.nets.pixel_heads import LinearHead, MaskedHead
from lightning_flows.nets.pixel_transformer import PixelTransformer
from lightning_flows.nets.spectral_norm import NormalizedConv2d, SpectralNorm, bind
from lightning_flows.nets.sylvester import LinearSylvesterFunction, SylvesterFunction
from lightning_flows.nets.triangular import TriangularSylvesterFunction

__all__ = [
    "MADE",
    "MLP",
    "AttentionSizes",
    "AutoregressiveConvNet",
    "ContextNet",
    "ConvNet",
    "DenseBlock",
    "DenseNet",
    "DenseSizes",
    "GraphAttentionNet",
    "LinearHead",
    "LinearSylvesterFunction",
    "LipschitzConvNet",
    "MaskedConv2d",
    "MaskedHead",
    "NormalizedConv2d",
    "NormalizedLinear",
    "PixelFunction",
    "PixelTransformer",
    "SetAutoregressiveNet",
    "SpectralNorm",
    "SylvesterFunction",
    "TriangularSylvesterFunction",
    "bind",
]
