"""Weight averaging with Lightning's callbacks: validation, buffers, and the average before the first update."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import StochasticWeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lightning_flows.checkpoints.averaging import WEIGHT_AVERAGING, average_of, averaged_model, stochastic_average

AVERAGING = *WEIGHT_AVERAGING, StochasticWeightAveraging


class AveragedWeights(Callback):
    """Complement Lightning's EMAWeightAveraging, WeightAveraging and StochasticWeightAveraging, if a run has one.

    - Validation uses the average, with StochasticWeightAveraging as well. Before the first update it uses the current
      weights, where Lightning would use the initial ones. FlowModule does the same for checkpoints.
    - The average of StochasticWeightAveraging begins after the first step, when ActNorms are initialized.
    - Buffers are copied instead of averaged: an average of flags, masks or vectors of power iterations has no meaning,
      and torch cannot average flags.

    Must precede those callbacks.

    >>> from lightning_flows.app.default_trainer import default_trainer
    >>> averaging = StochasticWeightAveraging(swa_lrs=1e-3)
    >>> trainer = default_trainer(callbacks=[averaging], logger=False)  # every run has it, before such callbacks
    >>> kinds = [type(each) for each in trainer.callbacks]
    >>> kinds.index(AveragedWeights) < kinds.index(StochasticWeightAveraging)
    True
    """

    def __init__(self) -> None:
        self._current: dict[str, Tensor] | None = None  # while the average is in the module

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._current = None
        if any(isinstance(each, AVERAGING) for each in trainer.callbacks):  # type: ignore[attr-defined]
            rank_zero_info("weights are averaged: after the first update, validation and checkpoints use the average")
        if (model := averaged_model(trainer)) is not None:
            model.use_buffers = False

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        if trainer.global_step <= 1:
            _follow(trainer, pl_module, have_begun=True)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Load the average of StochasticWeightAveraging into the module; the other callbacks do so themselves."""
        _follow(trainer, pl_module)
        average = average_of(trainer, pl_module)
        if average is not None and averaged_model(trainer) is None and trainer.state.fn is TrainerFn.FITTING:
            self._current = {name: value.detach().clone() for name, value in pl_module.named_parameters()}
            pl_module.load_state_dict(average.weights, strict=False)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._current is not None:
            pl_module.load_state_dict(self._current, strict=False)
            self._current = None

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _follow(trainer, pl_module)


def _follow(trainer: Trainer, module: LightningModule, *, have_begun: bool = False) -> None:
    """Set averages that have not begun to the current weights; with ``have_begun``, also a stochastic one that has."""
    current, model, stochastic = module.state_dict(), averaged_model(trainer), stochastic_average(trainer, module)
    if model is not None and not model.n_averaged:
        model.module.load_state_dict(current)
    if stochastic is not None and (have_begun or not stochastic[0]):
        for name, value in stochastic[1].items():
            value.copy_(current[name])
