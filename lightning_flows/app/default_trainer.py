"""Defaults of the trainer: what every run records, prints and refuses."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import Trainer
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator
from lightning.pytorch.callbacks import Callback, Checkpoint, ModelCheckpoint
from lightning.pytorch.callbacks.progress import ProgressBar as AnyProgressBar
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.model_helpers import is_overridden
from rich import get_console

from lightning_flows.app.checks import check_trainer
from lightning_flows.callbacks import (
    AveragedWeights,
    CurveRecorder,
    EqualRanks,
    Interruptible,
    LastCheckpoint,
    NoSearchOnResume,
    ProgressBar,
    ProgressLines,
    ResultTable,
    RunSummary,
    TestRecorder,
)
from lightning_flows.callbacks.averaged_weights import AVERAGING
from lightning_flows.errors import UsageError
from lightning_flows.functional.nested import listed
from lightning_flows.training.checkpoint_io import AtomicCheckpointIO


def default_trainer(**options: Any) -> Trainer:
    """Build Lightning's trainer with the callbacks and the checkpoint writer of the command line.

    Args:
        options: arguments of the trainer; callbacks and plugins replace defaults of the same kind.

    Raises: UsageError for options that Lightning would accept and fail on later.
    """
    check_trainer(options)
    return with_atomic_checkpoints(Trainer(**options | default_options(options)))


def with_atomic_checkpoints(trainer: Trainer) -> Trainer:
    """Make a trainer write checkpoints atomically, unless it has a custom checkpoint writer."""
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = AtomicCheckpointIO()
    return trainer


def default_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return replacements for arguments of the trainer: callbacks, progress and device."""
    given = sorted(listed(options.get("callbacks")), key=lambda each: isinstance(each, AVERAGING))  # after monitors
    first = [kind() for kind in (NoSearchOnResume, AveragedWeights) if not _any(given, kind)]
    last = [kind() for kind in (CurveRecorder, RunSummary, ResultTable, TestRecorder) if not _any(given, kind)]
    callbacks = [*first, *given, *last]
    progress, console = options.get("enable_progress_bar") is not False, get_console()
    if progress and not _any(callbacks, AnyProgressBar) and not _any(callbacks, ProgressLines):
        callbacks.append(ProgressBar() if console.is_terminal or console.is_jupyter else ProgressLines())
    callbacks += [kind() for kind in (EqualRanks, Interruptible) if not _any(callbacks, kind)]
    if options.get("enable_checkpointing") is False:
        callbacks = [callback for callback in callbacks if not isinstance(callback, Checkpoint)]
    else:
        for kind in (ModelCheckpoint, LastCheckpoint):  # the last one saves the state of those of the best
            if not _any(callbacks, kind):
                callbacks.append(kind())
    _check_states(callbacks)
    return {
        "callbacks": callbacks,
        "enable_progress_bar": progress and _any(callbacks, AnyProgressBar),
        "accelerator": _accelerator(options.get("accelerator")),
    }


def _check_states(callbacks: Sequence[Callback]) -> None:
    """Raise UsageError for two callbacks whose states a checkpoint could not tell apart."""
    seen: set[str] = set()
    for callback in callbacks:
        if is_overridden("state_dict", callback):
            if callback.state_key in seen:
                raise UsageError(
                    f"there are two {type(callback).__name__} callbacks with the same key in checkpoints, "
                    f"{callback.state_key}: change the interval or the metric of one, override its state_key, or set "
                    "--trainer.callbacks to a list of your own, which replaces the default one"
                )
            seen.add(callback.state_key)


def _accelerator(chosen: Any) -> Any:
    """Avoid Apple GPUs, which lack float64, used for sums and likelihoods."""
    if chosen == "mps" or isinstance(chosen, MPSAccelerator):
        raise UsageError("mps has no float64, in which likelihoods are summed: use --trainer.accelerator=cpu")
    if chosen in (None, "auto", "gpu") and MPSAccelerator.is_available() and not CUDAAccelerator.is_available():
        rank_zero_info("training on the CPU: Apple's GPU has no float64, in which likelihoods are summed")
        return "cpu"
    return chosen or "auto"


def _any(values: Sequence[Any], kind: type) -> bool:
    return any(isinstance(value, kind) for value in values)
