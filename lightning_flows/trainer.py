"""The trainer behind the subcommands fit, validate, test and predict."""

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.callbacks.progress import ProgressBar as AnyProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from rich import get_console

from lightning_flows import __version__
from lightning_flows.callbacks import Interruptible, PredictionWriter, ProgressBar, ProgressLines
from lightning_flows.checkpoint_io import AtomicCheckpointIO
from lightning_flows.datamodules import FlowDataModule
from lightning_flows.modules.base import describe
from lightning_flows.tables.runs import TESTS


class FlowTrainer(Trainer):
    """Lightning's Trainer: ``fit`` can be stopped, goes on and tells where its run lies; tests keep their results.

    ``predict`` writes a table.

    Args:
        kwargs: see Lightning's Trainer. Unless callbacks has another one, an Interruptible is added, and, with
            enable_progress_bar, a ProgressBar or, without a terminal, ProgressLines; unless plugins has another, an
            AtomicCheckpointIO.
    """

    def __init__(self, **kwargs: Any) -> None:
        _choose_progress(kwargs)
        super().__init__(**kwargs)
        if not any(isinstance(callback, Interruptible) for callback in self.callbacks):  # type: ignore[attr-defined]
            before_checkpoints = sum(not isinstance(callback, Checkpoint) for callback in self.callbacks)  # type: ignore[attr-defined]
            self.callbacks.insert(before_checkpoints, Interruptible())  # type: ignore[attr-defined]
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
            train_dataloaders: data to train on, where there is no datamodule.
            val_dataloaders: data to validate on, likewise.
            datamodule: the data.
            ckpt_path: checkpoint to go on from.
            weights_only: read tensors and plain values alone.
        """
        writes = self.is_global_zero and isinstance(self.logger, TensorBoardLogger)  # others would count a version on
        folder = Path(self.logger.log_dir) if writes else None  # type: ignore[union-attr, arg-type]
        is_new = folder is not None and not folder.exists()
        size = sum(p.numel() for p in model.parameters())
        rank_zero_info(f"{type(model).__name__}, {size:,} parameters" + (f"; run: {_short(folder)}" if folder else ""))
        try:
            super().fit(model, train_dataloaders, val_dataloaders, datamodule, ckpt_path, weights_only)
        except BaseException:
            if folder is not None and is_new and self.global_step == 0:
                self._drop(folder)
            raise
        if ckpt_path and self.global_step == _step(Path(ckpt_path)):
            rank_zero_info(
                f"nothing was left to train after {self.global_step} steps: max_epochs, max_steps and max_time are of "
                "the whole training; raise or drop the one that is reached"
            )
        for callback in self.checkpoint_callbacks:
            if self.is_global_zero and isinstance(callback, ModelCheckpoint) and callback.best_model_path:
                score = (
                    ""
                    if callback.best_model_score is None
                    else f" ({callback.monitor} {_digits(callback.best_model_score)})"
                )
                print(f"best: {_short(callback.best_model_path)}{score}")

    def validate(  # type: ignore[override]
        self,
        model: LightningModule | None = None,
        datamodule: LightningDataModule | None = None,
        ckpt_path: str | Path | None = None,
        verbose: bool = True,
        weights_only: bool | None = None,
    ) -> Any:
        """Score the validation part with a checkpoint.

        Args:
            model: the flow.
            datamodule: the data.
            ckpt_path: checkpoint of a trained model.
            verbose: print the results.
            weights_only: read tensors and plain values alone.
        """
        results = super().validate(
            model, datamodule=datamodule, ckpt_path=ckpt_path, verbose=False, weights_only=weights_only
        )
        self._show(results, verbose)
        return results

    def test(  # type: ignore[override]
        self,
        model: LightningModule | None = None,
        datamodule: FlowDataModule | None = None,
        ckpt_path: str | Path | None = None,
        verbose: bool = True,
        weights_only: bool | None = None,
    ) -> Any:
        """Test a checkpoint; a line with the results is added to ``tests.jsonl`` in its run's folder.

        Args:
            model: the flow.
            datamodule: the data.
            ckpt_path: checkpoint of a trained model.
            verbose: print the results.
            weights_only: read tensors and plain values alone.
        """
        results = super().test(
            model, datamodule=datamodule, ckpt_path=ckpt_path, verbose=False, weights_only=weights_only
        )
        self._show(results, verbose)
        path = Path(ckpt_path or "").resolve()
        if path.parent.name == "checkpoints" and self.is_global_zero and model and datamodule and results:
            try:
                with (path.parents[1] / TESTS).open("a", encoding="utf-8") as file:
                    file.write(json.dumps(self._record(model, datamodule, path, results[0])) + "\n")
            except OSError as error:
                rank_zero_warn(f"the results were not kept beside the run: {error}")
        return results

    def _record(
        self, model: LightningModule, datamodule: FlowDataModule, checkpoint: Path, metrics: Any
    ) -> dict[str, Any]:
        options = datamodule.hparams
        batch_size = (options["eval_batch_size"] or options["batch_size"]) * self.world_size
        return {
            "checkpoint": checkpoint.name,
            "global_step": _step(checkpoint),
            "metrics": metrics,
            "num_items": min(datamodule.num_test, int(sum(self.num_test_batches)) * batch_size),
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

    def _drop(self, folder: Path) -> None:
        """Remove the folder of a run that ended before its data were read: it has this run's empty curves alone."""
        files = list(folder.iterdir()) if folder.is_dir() else []
        if all(file.name.startswith("events.out.tfevents") or file.name == "hparams.yaml" for file in files):
            self.logger.experiment.close()  # type: ignore[union-attr]
            for file in files:
                file.unlink()
            with suppress(OSError):  # the folder above holds other runs
                folder.rmdir()
                folder.parent.rmdir()

    def predict(  # type: ignore[override]
        self,
        model: LightningModule | None = None,
        datamodule: LightningDataModule | None = None,
        ckpt_path: str | Path | None = None,
        out: str = "predictions.csv",
    ) -> Any:
        """Score pictures or graphs: a CSV with the log-likelihood of each, in nats and per dimension or node.

        Args:
            model: the flow.
            datamodule: the data.
            ckpt_path: checkpoint of a trained model.
            out: CSV file to write; an existing one is kept and refused.
        """
        self.callbacks.append(PredictionWriter(out))  # type: ignore[attr-defined]
        super().predict(model, datamodule=datamodule, ckpt_path=ckpt_path, return_predictions=False, weights_only=True)
        print(f"scores: {out}")


def _step(checkpoint: Path) -> int:
    return torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["global_step"]


def _digits(value: Any) -> str:
    return f"{float(value):.5g}"


def _short(path: str | Path) -> str:
    """A path as a person types it."""
    path, here = Path(path).absolute(), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


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
