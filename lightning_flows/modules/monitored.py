"""Metrics that callbacks monitor: names that are never logged are refused before training."""

import difflib

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping

from lightning_flows.errors import UsageError

CALLBACKS = {"val/bpd": "defaults/fit.yaml", "val/nll": "table4/base.yaml"}
"""Validation metrics of images and graphs, with a config whose callbacks monitor them."""

BY_CALLBACKS = ("bound/", "optimizer/", "inverse/", "runtime/")
"""Prefixes of the metrics that our callbacks log."""

OWN = ("lightning", "lightning_flows", "pytorch_lightning")


def check_monitors(module: LightningModule, trainer: Trainer, monitored: str) -> None:
    """Raise UsageError if a callback monitors a metric that is not logged, which Lightning notices after an epoch.

    This is only known before training if module and callbacks are part of lightning_flows or Lightning; metrics of
    others are known after the first validation.
    """
    unit = monitored.partition("/")[2]
    known = [monitored, f"train/{unit}"] + (["val/gap"] if monitored == "val/nll" else [])
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    all_known = _is_own(module) and all(_is_own(callback) for callback in callbacks)
    for callback in callbacks:
        monitor = getattr(callback, "monitor", None) if isinstance(callback, Checkpoint | EarlyStopping) else None
        if monitor is None or not monitored or monitor in (*known, "epoch", "step") or monitor.startswith(BY_CALLBACKS):
            continue
        name = f"{type(callback).__name__} monitors {monitor}, which {type(module).__name__} does not log"
        if monitor in CALLBACKS and monitor != monitored:
            raise UsageError(
                f"{name}: give callbacks that monitor {monitored}, such as those in {CALLBACKS[monitored]}, or that "
                "config first"
            )
        if all_known:
            close = difflib.get_close_matches(monitor, known, 1)
            meant = f"did you mean {close[0]}? " if close else ""
            raise UsageError(f"{name}: {meant}it logs {', '.join(known)}")


def _is_own(component: object) -> bool:
    return type(component).__module__.partition(".")[0] in OWN
