"""The trainer behind the subcommands fit, validate, test and predict."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.callbacks.progress import ProgressBar as AnyProgressBar
from lightning.pytorch.utilities import rank_zero_warn
from rich import get_console

from lightning_flows import __version__
from lightning_flows.callbacks import Interruptible, PredictionWriter, ProgressBar, ProgressLines
from lightning_flows.checkpoint_io import AtomicCheckpointIO
from lightning_flows.datamodules import FlowDataModule
from lightning_flows.modules.base import describe
from lightning_flows.tables.runs import TESTS


class FlowTrainer(Trainer):
    """Lightning's Trainer: ``fit`` can be stopped and go on, ``test`` keeps its results, ``predict`` writes a table.

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
            model, datamodule=datamodule, ckpt_path=ckpt_path, verbose=verbose, weights_only=weights_only
        )
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
            "global_step": torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["global_step"],
            "metrics": metrics,
            "num_items": min(datamodule.num_test, int(sum(self.num_test_batches)) * batch_size),
            "num_parameters": sum(p.numel() for p in model.parameters()),
            "model": describe(model),
            "data": describe(datamodule),
            "lightning_flows": __version__,
            "torch": torch.__version__,
            "time": time.time(),
        }

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
