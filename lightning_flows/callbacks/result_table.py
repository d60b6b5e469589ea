"""Results of an evaluation, printed."""

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn


class ResultTable(Callback):
    """Print the metrics of ``validate`` and ``test``, one per line.

    >>> from lightning_flows.app.default_trainer import default_trainer
    >>> from lightning_flows.data import ToyDataModule
    >>> from lightning_flows.flows import Flow
    >>> from lightning_flows.modules import VectorFlowModule
    >>> from lightning_flows.transforms import Affine
    >>> module = VectorFlowModule(None, Flow(Affine(shift=0.0, scale=2.0), event_shape=(2,)))
    >>> trainer = default_trainer(logger=False, enable_progress_bar=False)  # every run has this table
    >>> metrics = trainer.validate(module, ToyDataModule(num_val=100), verbose=False)
    val/loss  3.3871
    val/nll   3.3871
    val/gap   2.4392
    """

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
