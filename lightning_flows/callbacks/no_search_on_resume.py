"""Resuming without another search for a learning rate or batch size."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder
from lightning.pytorch.utilities import rank_zero_info

FINDERS: dict[type[Callback], tuple[str, str]] = {
    LearningRateFinder: ("model", "learning_rate"),
    BatchSizeFinder: ("data", "batch_size"),
}


class NoSearchOnResume(Callback):
    """Skip Lightning's finders when a run resumes, and keep the value in the checkpoint.

    A search ends by restoring a state of its own instead of the one that the run resumes from.
    """

    def __init__(self) -> None:
        self._resumes = False
        self._skipped: list[Callback] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._resumes = stage == "fit"

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._resumes = False  # a finder saves its state before it searches, and loads it afterwards

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if not self._resumes:
            return
        parts = {"model": pl_module, "data": getattr(trainer, "datamodule", None)}
        record = checkpoint.get("lightning_flows", {})
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            for kind, (section, name) in FINDERS.items():
                if isinstance(callback, kind) and type(callback).on_fit_start is kind.on_fit_start:
                    arguments = record.get(section, {}).get("init_args", {})
                    if kind is LearningRateFinder:
                        found = ((arguments.get("optimizer") or {}).get("init_args") or {}).get("lr")
                        if type(found) in (int, float) and found > 0 and hasattr(pl_module, name):
                            pl_module.learning_rate = found
                    else:
                        found = arguments.get(name)
                        if type(found) is int and found > 0 and name in getattr(parts[section], "hparams", {}):
                            parts[section].hparams[name] = found  # type: ignore[union-attr]
                    rank_zero_info(f"{kind.__name__} is skipped, as the run resumes: {section}.{name} stays {found}")
                    self._skipped.append(callback)
        trainer.callbacks = [each for each in trainer.callbacks if each not in self._skipped]  # type: ignore[attr-defined]

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        trainer.callbacks[:0], self._skipped = self._skipped, []  # type: ignore[attr-defined]

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.teardown(trainer, pl_module, "fit")
