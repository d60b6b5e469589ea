"""When metrics are logged, and metrics that callbacks monitor: names that are never logged are refused."""

import difflib

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping

from lightning_flows.errors import UsageError

BY_CALLBACKS = ("bound/", "optimizer/", "inverse/", "runtime/", "epoch", "step")
"""Prefixes of the metrics that our callbacks and Lightning log."""


def is_due(trainer: Trainer) -> bool:
    """Whether the current step is logged; call this before the optimizer's step is counted."""
    steps = trainer.log_every_n_steps  # type: ignore[attr-defined]
    return steps > 0 and (trainer.global_step + 1) % steps == 0


def is_shown(trainer: Trainer | None) -> bool:
    """Whether to pass the training loss to a progress bar of Lightning, which reads it from the device in every step.

    A bar whose attribute ``reads_loss`` is true reads the loss itself, less often.
    """
    bar = getattr(trainer, "progress_bar_callback", None)
    return bar is not None and not getattr(bar, "reads_loss", False)


def check_monitors(module: LightningModule, trainer: Trainer, known: list[str]) -> None:
    """Raise UsageError if a callback monitors a metric that is not logged, which Lightning notices after an epoch.

    The check requires that module and callbacks are part of lightning_flows or Lightning; metrics of others are only
    known after the first validation.
    """
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    if not all(_is_own(each) for each in (module, *callbacks)):
        return
    for callback in callbacks:
        monitor = getattr(callback, "monitor", None) if isinstance(callback, Checkpoint | EarlyStopping) else None
        if monitor is None or monitor in known or monitor.startswith(BY_CALLBACKS):
            continue
        close = difflib.get_close_matches(monitor, known, 1)
        meant = f"did you mean {close[0]}? " if close else ""
        raise UsageError(
            f"{type(callback).__name__} monitors {monitor}, which {type(module).__name__} does not log: {meant}it logs "
            f"{', '.join(known)}"
        )


def _is_own(component: object) -> bool:
    return type(component).__module__.partition(".")[0] in ("lightning", "lightning_flows", "pytorch_lightning")
