"""Subcommands, one per file; their modules import torch only when they compute."""

import importlib
from collections.abc import Callable
from typing import Any

TRAINER_COMMANDS = {
    "fit": "Train a flow from a config and write a run folder.",
    "validate": "Evaluate a checkpoint on the validation split.",
    "test": "Evaluate a checkpoint on the test split and record the results in its run folder.",
    "predict": "Write the log-likelihood of each image, graph or row to a CSV file.",
    "benchmark": "Measure speed and memory of a config or a checkpoint on this device.",
}
COMMANDS = {
    "sample": "ckpt_path",
    "audit": "ckpt_path",
    "demo": None,
    "figure": "name",
    "table": "number",
    "report": None,
    "completion": "shell",
}
"""Commands without a trainer, with the name of their positional argument."""


def function(name: str) -> Callable[..., Any]:
    """Return the function of a command without a trainer."""
    found: Callable[..., Any] = getattr(importlib.import_module(f"lightning_flows.app.commands.{name}"), name)
    return found


def descriptions() -> dict[str, str]:
    """Return a one-line description of each command."""
    return TRAINER_COMMANDS | {name: (function(name).__doc__ or "").splitlines()[0] for name in COMMANDS}
