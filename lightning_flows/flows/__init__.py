"""Flows: transforms and a base density."""

from lightning_flows.flows.coupling import CouplingFlow
from lightning_flows.flows.flow import Flow, ImageFlow
from lightning_flows.flows.glow import GlowFlow
from lightning_flows.flows.graph import GraphCouplingFlow, GraphFlow, GraphNormalizingFlow, SetAutoregressiveFlow
from lightning_flows.flows.multiscale import MultiScaleFlow
from lightning_flows.flows.pixel import PixelAutoregressiveFlow
from lightning_flows.flows.residual import ResidualFlow
from lightning_flows.flows.sylvester import Ablation, ConvSylvesterFlow, sylvester_layer
from lightning_flows.flows.vector import AutoregressiveFlow, SylvesterVectorFlow

__all__ = [
    "Ablation",
    "AutoregressiveFlow",
    "ConvSylvesterFlow",
    "CouplingFlow",
    "Flow",
    "GlowFlow",
    "GraphCouplingFlow",
    "GraphFlow",
    "GraphNormalizingFlow",
    "ImageFlow",
    "MultiScaleFlow",
    "PixelAutoregressiveFlow",
    "ResidualFlow",
    "SetAutoregressiveFlow",
    "SylvesterVectorFlow",
    "sylvester_layer",
]
