"""Callbacks: one a file."""

from lightning_flows.callbacks.bound_monitor import BoundMonitor
from lightning_flows.callbacks.dashboard import Dashboard
from lightning_flows.callbacks.equal_ranks import EqualRanks
from lightning_flows.callbacks.graph_scatter import GraphScatter
from lightning_flows.callbacks.interruptible import Interruptible
from lightning_flows.callbacks.item_count import ItemCount
from lightning_flows.callbacks.last_checkpoint import LastCheckpoint
from lightning_flows.callbacks.latent_histogram import LatentHistogram
from lightning_flows.callbacks.optimizer_monitor import OptimizerMonitor
from lightning_flows.callbacks.prediction_writer import PredictionWriter
from lightning_flows.callbacks.progress_bar import ProgressBar
from lightning_flows.callbacks.progress_lines import ProgressLines
from lightning_flows.callbacks.round_trip import RoundTrip
from lightning_flows.callbacks.runtime import RuntimeMonitor
from lightning_flows.callbacks.sample_grid import SampleGrid

__all__ = [
    "BoundMonitor",
    "Dashboard",
    "EqualRanks",
    "GraphScatter",
    "Interruptible",
    "ItemCount",
    "LastCheckpoint",
    "LatentHistogram",
    "OptimizerMonitor",
    "PredictionWriter",
    "ProgressBar",
    "ProgressLines",
    "RoundTrip",
    "RuntimeMonitor",
    "SampleGrid",
]
