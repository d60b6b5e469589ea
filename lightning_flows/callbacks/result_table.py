"""Results of an evaluation, printed."""

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn


class ResultTable(Callback):
    """Print the metrics of ``validate`` and ``test``, one per line."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn is TrainerFn.VALIDATING:
            self._print(trainer)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._print(trainer)

    def _print(self, trainer: Trainer) -> None:
        if trainer.is_global_zero:
            width = max(map(len, trainer.callback_metrics), default=0)
            for name, value in trainer.callback_metrics.items():
                print(f"{name:{width}}  {float(value):.5g}")
