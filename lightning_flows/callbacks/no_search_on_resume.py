"""Resume without searching for a learning rate or batch size again."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder
from lightning.pytorch.utilities import rank_zero_info


class NoSearchOnResume(Callback):
    """Skip Lightning's finders when a run resumes, and keep the value in the checkpoint.

    A search ends by restoring its own initial state instead of the one that the run resumes from.

    >>> from lightning_flows.app.default_trainer import default_trainer
    >>> trainer = default_trainer(callbacks=[LearningRateFinder()], logger=False)  # every run has it
    >>> any(isinstance(each, NoSearchOnResume) for each in trainer.callbacks)
    True
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
        record, data = checkpoint["lightning_flows"], trainer.datamodule  # type: ignore[attr-defined]
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if type(callback).on_fit_start is LearningRateFinder.on_fit_start:
                optimizer = record["model"]["init_args"].get("optimizer") or {}
                if _is_positive(found := optimizer.get("init_args", {}).get("lr")):
                    pl_module.learning_rate = found
            elif type(callback).on_fit_start is BatchSizeFinder.on_fit_start:
                found = record.get("data", {}).get("init_args", {}).get("batch_size")
                if _is_positive(found) and "batch_size" in getattr(data, "hparams", {}):
                    data.hparams["batch_size"] = found
            else:
                continue
            self._skipped.append(callback)
            rank_zero_info(f"{type(callback).__name__} is skipped, as the run resumes with {found}")
        trainer.callbacks = [each for each in trainer.callbacks if each not in self._skipped]  # type: ignore[attr-defined]

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        trainer.callbacks[:0], self._skipped = self._skipped, []  # type: ignore[attr-defined]

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.teardown(trainer, pl_module, "fit")


def _is_positive(value: Any) -> bool:
    return type(value) in (int, float) and value > 0
