"""Flows: a transform and a base density."""

from lightning_flows.flows.csf import conv_sylvester_flow
from lightning_flows.flows.flow import Flow
from lightning_flows.flows.mixing import mixing_flow
from lightning_flows.flows.multiscale import MultiScaleFlow
from lightning_flows.flows.split_prior import SplitPrior

__all__ = ["Flow", "MultiScaleFlow", "SplitPrior", "conv_sylvester_flow", "mixing_flow"]
