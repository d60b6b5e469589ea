"""What the installed versions of other packages have."""

import inspect

import pytest
from lightning.pytorch import Trainer, callbacks

WEIGHTS_ONLY = {"weights_only": True} if "weights_only" in inspect.signature(Trainer.fit).parameters else {}
"""Argument of the trainer's methods; before Lightning 2.6 they have none, and the writer of checkpoints decides."""

HAS_AVERAGES = hasattr(callbacks, "WeightAveraging")
needs_averages = pytest.mark.skipif(not HAS_AVERAGES, reason="WeightAveraging begins with Lightning 2.6")
