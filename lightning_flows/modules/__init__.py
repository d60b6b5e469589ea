"""LightningModules: training and logging of flows, with their metrics and checkpoints."""

from lightning_flows.modules.base import FlowModule
from lightning_flows.modules.checkpoint import load_model, read_checkpoint
from lightning_flows.modules.graph import (
    GraphCouplingFlow,
    GraphFlowModule,
    GraphNormalizingFlow,
    SetAutoregressiveFlow,
)
from lightning_flows.modules.image import ImageFlowModule
from lightning_flows.modules.metrics import BitsPerDim
from lightning_flows.modules.mixing import MixingFlow
from lightning_flows.modules.residual import CSF, CouplingFlow, ResidualFlow

__all__ = [
    "CSF",
    "BitsPerDim",
    "CouplingFlow",
    "FlowModule",
    "GraphCouplingFlow",
    "GraphFlowModule",
    "GraphNormalizingFlow",
    "ImageFlowModule",
    "MixingFlow",
    "ResidualFlow",
    "SetAutoregressiveFlow",
    "load_model",
    "read_checkpoint",
]
