"""Flows: a transform and a base density."""

from lightning_flows.flows.builder import multiscale_flow
from lightning_flows.flows.flow import Flow
from lightning_flows.flows.mixing import mixing_flow
from lightning_flows.flows.multiscale import MultiScaleFlow
from lightning_flows.flows.residual import Ablation, conv_sylvester_flow, coupling_flow, residual_flow, sylvester_layer
from lightning_flows.flows.split_prior import SplitPrior

__all__ = [
    "Ablation",
    "Flow",
    "MultiScaleFlow",
    "SplitPrior",
    "conv_sylvester_flow",
    "coupling_flow",
    "mixing_flow",
    "multiscale_flow",
    "residual_flow",
    "sylvester_layer",
]
