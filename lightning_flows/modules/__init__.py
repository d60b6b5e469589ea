"""LightningModules: training, evaluation and logging of any flow."""

from lightning_flows.checkpoints import read_checkpoint
from lightning_flows.modules.base import FlowModule
from lightning_flows.modules.checkpoint import load_flow, load_model
from lightning_flows.modules.graph import GraphFlowModule
from lightning_flows.modules.image import ImageFlowModule
from lightning_flows.modules.schedules import ReduceLROnPlateau, WarmupCosine, WarmupExponential
from lightning_flows.modules.vae import VAEModule
from lightning_flows.modules.vector import VectorFlowModule

__all__ = [
    "FlowModule",
    "GraphFlowModule",
    "ImageFlowModule",
    "ReduceLROnPlateau",
    "VAEModule",
    "VectorFlowModule",
    "WarmupCosine",
    "WarmupExponential",
    "load_flow",
    "load_model",
    "read_checkpoint",
]
