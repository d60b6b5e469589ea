"""Callbacks, one per file."""

from lightning_flows.callbacks.averaged_weights import AveragedWeights
from lightning_flows.callbacks.bound_monitor import BoundMonitor
from lightning_flows.callbacks.curve_recorder import CurveRecorder
from lightning_flows.callbacks.dashboard import Dashboard
from lightning_flows.callbacks.density_picture import DensityPicture
from lightning_flows.callbacks.early_stopping import EarlyStoppingAfterWarmup
from lightning_flows.callbacks.equal_ranks import EqualRanks
from lightning_flows.callbacks.interruptible import Interruptible
from lightning_flows.callbacks.last_checkpoint import LastCheckpoint
from lightning_flows.callbacks.latent_histogram import LatentHistogram
from lightning_flows.callbacks.latent_walk import LatentWalk
from lightning_flows.callbacks.no_search_on_resume import NoSearchOnResume
from lightning_flows.callbacks.optimizer_monitor import OptimizerMonitor
from lightning_flows.callbacks.prediction_writer import PredictionWriter
from lightning_flows.callbacks.progress_bar import ProgressBar
from lightning_flows.callbacks.progress_lines import ProgressLines
from lightning_flows.callbacks.reconstructions import Reconstructions
from lightning_flows.callbacks.result_table import ResultTable
from lightning_flows.callbacks.round_trip import RoundTrip
from lightning_flows.callbacks.run_summary import RunSummary
from lightning_flows.callbacks.runtime import RuntimeMonitor
from lightning_flows.callbacks.sample_grid import SampleGrid
from lightning_flows.callbacks.test_recorder import TestRecorder

__all__ = [
    "AveragedWeights",
    "BoundMonitor",
    "CurveRecorder",
    "Dashboard",
    "DensityPicture",
    "EarlyStoppingAfterWarmup",
    "EqualRanks",
    "Interruptible",
    "LastCheckpoint",
    "LatentHistogram",
    "LatentWalk",
    "NoSearchOnResume",
    "OptimizerMonitor",
    "PredictionWriter",
    "ProgressBar",
    "ProgressLines",
    "Reconstructions",
    "ResultTable",
    "RoundTrip",
    "RunSummary",
    "RuntimeMonitor",
    "SampleGrid",
    "TestRecorder",
]
