"""Flows: a transform and a base density."""

from lightning_flows.flows.builder import multiscale_flow
from lightning_flows.flows.flow import Flow
from lightning_flows.flows.graph import GraphFlow, graph_coupling_flow, graph_normalizing_flow, set_autoregressive_flow
from lightning_flows.flows.mixing import mixing_flow
from lightning_flows.flows.multiscale import MultiScaleFlow
from lightning_flows.flows.residual import Ablation, conv_sylvester_flow, coupling_flow, residual_flow, sylvester_layer
from lightning_flows.flows.split_prior import SplitPrior

__all__ = [
    "Ablation",
    "Flow",
    "GraphFlow",
    "MultiScaleFlow",
    "SplitPrior",
    "conv_sylvester_flow",
    "coupling_flow",
    "graph_coupling_flow",
    "graph_normalizing_flow",
    "mixing_flow",
    "multiscale_flow",
    "residual_flow",
    "set_autoregressive_flow",
    "sylvester_layer",
]
