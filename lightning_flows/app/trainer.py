"""The trainer behind the subcommands fit, validate, test and predict."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator
from lightning.pytorch.callbacks import BatchSizeFinder, Checkpoint, LearningRateFinder, ModelCheckpoint
from lightning.pytorch.callbacks.progress import ProgressBar as AnyProgressBar
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from rich import get_console

from lightning_flows import __version__
from lightning_flows.callbacks import (
    Interruptible,
    ItemCount,
    LastCheckpoint,
    PredictionWriter,
    ProgressBar,
    ProgressLines,
)
from lightning_flows.callbacks.base import run_folder
from lightning_flows.checkpoints import describe
from lightning_flows.errors import UsageError
from lightning_flows.files import appended_line
from lightning_flows.modules.checkpoint import checkpoint_config, read_checkpoint
from lightning_flows.reporting.tables.runs import TESTS
from lightning_flows.training.checkpoint_io import AtomicCheckpointIO


class FlowTrainer(Trainer):
    """Lightning's Trainer: ``fit`` can be stopped, goes on and tells where its run lies; tests keep their results.

    ``predict`` writes a table.

    Args:
        kwargs: see Lightning's Trainer. Unless callbacks has another one, an Interruptible is added, and, with
            enable_progress_bar, a ProgressBar or, without a terminal, ProgressLines; unless plugins has another, an
            AtomicCheckpointIO.
    """

    def __init__(self, **kwargs: Any) -> None:
        _check_counts(kwargs)
        _choose_progress(kwargs)
        _choose_device(kwargs)
        super().__init__(**kwargs)
        callbacks: list[Callback] = self.callbacks  # type: ignore[attr-defined]
        if not any(isinstance(callback, Interruptible) for callback in callbacks):
            before_checkpoints = sum(not isinstance(callback, Checkpoint) for callback in callbacks)
            callbacks.insert(before_checkpoints, Interruptible())
        callbacks.insert(0, ItemCount())
        if not any(isinstance(callback, LastCheckpoint) for callback in callbacks):
            callbacks.append(LastCheckpoint())  # after those of the best, whose state it saves
        if type(self.strategy.checkpoint_io) is TorchCheckpointIO:
            self.strategy.checkpoint_io = AtomicCheckpointIO()

    def fit(
        self,
        model: LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        ckpt_path: str | Path | None = None,
        weights_only: bool | None = None,
    ) -> None:
        """Train a flow from a config, into a run's folder.

        Args:
            model: the flow.
            train_dataloaders: training data, without a datamodule.
            val_dataloaders: validation data, likewise.
            datamodule: the data.
            ckpt_path: checkpoint to resume from.
            weights_only: read only tensors and plain values.
        """
        last = next(callback for callback in self.callbacks if isinstance(callback, LastCheckpoint))  # type: ignore[attr-defined]
        # other ranks would increment the version
        where = f"; run: {_short(run_folder(self))}" if self.is_global_zero and not self.fast_dev_run else ""  # type: ignore[attr-defined]
        size = sum(p.numel() for p in model.parameters())
        rank_zero_info(f"{type(model).__name__}, {size:,} parameters{where}")
        finders: list[Callback] = []
        if ckpt_path and Path(ckpt_path).is_file():
            parts = {"model": model, "data": datamodule}
            finders = _leave_out_finders(self.callbacks, parts, ckpt_path)  # type: ignore[attr-defined]
        try:
            super().fit(model, train_dataloaders, val_dataloaders, datamodule, ckpt_path, weights_only)
        finally:
            self.callbacks[:0] = finders  # type: ignore[attr-defined]
        if not last.has_trained:
            self._tell_why_nothing(ckpt_path)
        for callback in self.checkpoint_callbacks:
            if self.is_global_zero and isinstance(callback, ModelCheckpoint) and callback.best_model_path:
                score = (
                    ""
                    if callback.best_model_score is None
                    else f" ({callback.monitor} {_digits(callback.best_model_score)})"
                )
                print(f"best: {_short(callback.best_model_path)}{score}")

    def _tell_why_nothing(self, ckpt_path: Any) -> None:
        if ckpt_path:
            rank_zero_info(
                f"nothing was left to train after {self.global_step} steps: max_epochs, max_steps and max_time are of "
                "the whole training; raise or drop the one that is reached"
            )
        else:
            rank_zero_info("nothing was trained: max_epochs, max_steps, max_time or limit_train_batches allow no step")

    def validate(
        self,
        model: LightningModule | None = None,
        dataloaders: Any = None,
        ckpt_path: str | Path | None = None,
        verbose: bool = True,
        datamodule: LightningDataModule | None = None,
        weights_only: bool | None = None,
    ) -> Any:
        """Score the validation split with a checkpoint.

        Args:
            model: the flow.
            dataloaders: data to evaluate, without a datamodule.
            ckpt_path: checkpoint of a trained model.
            verbose: print the results.
            datamodule: the data.
            weights_only: read only tensors and plain values.
        """
        results = super().validate(model, dataloaders, ckpt_path, False, datamodule, weights_only)
        self._show(results, verbose)
        return results

    def test(
        self,
        model: LightningModule | None = None,
        dataloaders: Any = None,
        ckpt_path: str | Path | None = None,
        verbose: bool = True,
        datamodule: LightningDataModule | None = None,
        weights_only: bool | None = None,
    ) -> Any:
        """Test a checkpoint; a line with the results is added to ``tests.jsonl`` in its run's folder.

        Args:
            model: the flow.
            dataloaders: data to evaluate, without a datamodule.
            ckpt_path: checkpoint of a trained model.
            verbose: print the results.
            datamodule: the data.
            weights_only: read only tensors and plain values.
        """
        results = super().test(model, dataloaders, ckpt_path, False, datamodule, weights_only)
        self._show(results, verbose)
        path = Path(ckpt_path or "").resolve()
        if path.parent.name == "checkpoints" and self.is_global_zero and model and datamodule and results:
            try:
                record = json.dumps(self._record(model, datamodule, path, results[0]))
                appended_line(path.parents[1] / TESTS, record)
            except Exception as error:  # the results are already printed, and may have taken hours
                rank_zero_warn(f"the results were not kept beside the run: {error or type(error).__name__}")
        return results

    def _record(self, model: LightningModule, datamodule: Any, checkpoint: Path, metrics: Any) -> dict[str, Any]:
        counter = next(callback for callback in self.callbacks if isinstance(callback, ItemCount))  # type: ignore[attr-defined]
        return {
            "checkpoint": checkpoint.name,
            "global_step": _step(checkpoint),
            "metrics": metrics,
            "num_items": counter.num_items,
            "num_parameters": sum(p.numel() for p in model.parameters()),
            "model": describe(model),
            "data": describe(datamodule),
            "lightning_flows": __version__,
            "torch": torch.__version__,
            "time": time.time(),
        }

    def _show(self, results: Any, verbose: bool) -> None:
        if verbose and self.is_global_zero:
            for metrics in results:
                width = max(map(len, metrics), default=0)
                print("\n".join(f"{name:{width}}  {_digits(value)}" for name, value in metrics.items()))

    def predict(  # type: ignore[override]
        self,
        model: LightningModule | None = None,
        datamodule: LightningDataModule | None = None,
        ckpt_path: str | Path | None = None,
        out: str = "predictions.csv",
    ) -> Any:
        """Score images or graphs: a CSV with the log-likelihood of each, in nats and per dimension or node.

        Args:
            model: the flow.
            datamodule: the data.
            ckpt_path: checkpoint of a trained model.
            out: CSV file to write; an existing one is kept and refused.
        """
        writer = PredictionWriter(out)
        callbacks: list[Callback] = self.callbacks  # type: ignore[attr-defined]
        callbacks.append(writer)
        try:
            super().predict(
                model, datamodule=datamodule, ckpt_path=ckpt_path, return_predictions=False, weights_only=True
            )
        finally:
            callbacks.remove(writer)
        if self.is_global_zero:
            print(f"scores: {out}")


def _leave_out_finders(callbacks: list[Callback], parts: dict[str, Any], ckpt_path: str | Path) -> list[Callback]:
    """Take out callbacks that search a value, and keep the one that a checkpoint has; return those taken out.

    Their search ends with a state of its own, in place of the one from which training was to go on.
    """
    left_out = []
    kinds: dict[type[Callback], tuple[str, str]] = {
        LearningRateFinder: ("model", "learning_rate"),
        BatchSizeFinder: ("data", "batch_size"),
    }
    for callback in list(callbacks):
        for kind, (section, name) in kinds.items():
            if not isinstance(callback, kind) or type(callback).on_fit_start is not kind.on_fit_start:
                continue
            found = checkpoint_config(read_checkpoint(ckpt_path)).get(section, {}).get("init_args", {}).get(name)
            if type(found) in (int, float) and found > 0 and name in getattr(parts[section], "hparams", {}):
                parts[section].hparams[name] = found
            rank_zero_info(f"{kind.__name__} searches where a training starts: {section}.{name} stays {found}")
            callbacks.remove(callback)
            left_out.append(callback)
    return left_out


def _step(checkpoint: Path) -> int:
    return torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["global_step"]


def _digits(value: Any) -> str:
    return f"{float(value):.5g}"


def _short(path: str | Path) -> str:
    """A path as a person types it."""
    path, here = Path(path).absolute(), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _check_counts(kwargs: dict[str, Any]) -> None:
    """Raise UsageError over a count that Lightning takes and then divides by."""
    for name in ("accumulate_grad_batches", "check_val_every_n_epoch", "val_check_interval"):
        value = kwargs.get(name)
        if isinstance(value, int | float) and value <= 0:
            raise UsageError(f"expected {name} above 0; got {value}")


def _choose_progress(kwargs: dict[str, Any]) -> None:
    """Put ours in place of Lightning's bar, which tells nothing of the whole training and needs a terminal."""
    callbacks = kwargs.get("callbacks") or []
    callbacks = list(callbacks) if isinstance(callbacks, Sequence) else [callbacks]
    bar, lines = (any(isinstance(callback, kind) for callback in callbacks) for kind in (AnyProgressBar, ProgressLines))
    if kwargs.get("enable_progress_bar", True) is False or bar:
        return
    console = get_console()
    if not lines and (console.is_terminal or console.is_jupyter):
        kwargs["callbacks"] = [*callbacks, ProgressBar()]
    else:
        kwargs["callbacks"] = callbacks if lines else [*callbacks, ProgressLines()]
        kwargs["enable_progress_bar"] = False


def _choose_device(kwargs: dict[str, Any]) -> None:
    """Avoid Apple GPUs, which lack float64, used for sums and likelihoods. Raises: UsageError."""
    accelerator = kwargs.get("accelerator") or "auto"
    if accelerator == "mps" or isinstance(accelerator, MPSAccelerator):
        raise UsageError("mps has no float64, which likelihoods are summed in: give --trainer.accelerator=cpu")
    if accelerator in ("auto", "gpu") and MPSAccelerator.is_available() and not CUDAAccelerator.is_available():
        rank_zero_info("training on the CPU: Apple's GPU has no float64, which likelihoods are summed in")
        kwargs["accelerator"] = "cpu"
