"""Features of the installed versions of other packages."""

import inspect
import re
from importlib.metadata import version

import pytest
from lightning.pytorch import Trainer, callbacks
from packaging.version import Version

from lightning_flows.modules.compiled import OLDEST

WEIGHTS_ONLY = {"weights_only": True} if "weights_only" in inspect.signature(Trainer.fit).parameters else {}
"""Argument of the trainer's methods from Lightning 2.6 on; before, the plugin that reads checkpoints decides."""

HAS_AVERAGES = hasattr(callbacks, "WeightAveraging")
needs_averages = pytest.mark.skipif(not HAS_AVERAGES, reason="WeightAveraging requires Lightning 2.6 or newer")

COMPILES = Version(version("torch")) >= Version(OLDEST)
"""Whether compiled training is supported."""

NEWER = [
    ("torch", OLDEST, "compile", "compiled training"),
    ("torch", "2.12", "test_generated_code", "the order of random numbers in generated code"),
    ("torch", "2.9", r"exported\[|test_exports_", "full graphs from torch.export"),
    ("torch", "2.9", "Muon", "the optimizer Muon"),
    ("torch", "2.9", "on_a_fake_gpu", "fake tensors on a GPU that is not there"),
    ("torch", "2.9", r"flows/test_golden.py::test_samples", "a reference in float32"),
    ("lightning", "2.6", r"test_early_stopping_(is_reported|reports)", "the reason for an early stop"),
    ("lightning", "2.6", "callbacks[+]=EMAWeightAveraging", "averages of weights"),
    ("lightning", "2.6", "a_plain_trainer_runs_no_code", "pickled code that Lightning's own Trainer refuses"),
    ("lightning", "2.6", "seed_everything=-1", "the bounds of a seed"),
    ("jsonargparse", "4.47", r"restored_from_a_checkpoint\[pair", "named tuples"),
    ("jsonargparse", "4.47", "a_model_that_no_config_has", "the error that asks for a model"),
    ("pillow", "13.0", r"every_mode_of_a_tiff\[YCbCr", "compressed YCbCr in TIFF files"),
]
"""Features that lower bounds lack, as docs/installation.md lists: package, version, pattern of tests, description."""

LACKING = [(package, needed, *rest) for package, needed, *rest in NEWER if Version(version(package)) < Version(needed)]
"""Features that the installed versions lack; computed once, since each lookup takes about a millisecond."""


def lacks(test: str) -> str | None:
    """Return why a test is skipped with the installed versions, if it is."""
    for package, needed, pattern, what in LACKING:
        if re.search(pattern, test):
            return f"{package} {needed} or newer is required for {what}"
    return None
