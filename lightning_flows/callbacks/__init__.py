"""Callbacks: one a file."""

from lightning_flows.callbacks.equal_ranks import EqualRanks
from lightning_flows.callbacks.graph_picture import GraphPicture
from lightning_flows.callbacks.interruptible import Interruptible
from lightning_flows.callbacks.prediction_writer import PredictionWriter
from lightning_flows.callbacks.runtime import RuntimeMonitor
from lightning_flows.callbacks.sample_grid import SampleGrid

__all__ = ["EqualRanks", "GraphPicture", "Interruptible", "PredictionWriter", "RuntimeMonitor", "SampleGrid"]
