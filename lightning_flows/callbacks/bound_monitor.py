"""Terms of the bound during training."""

from typing import Any

from lightning.pytorch import Callback, Trainer

from lightning_flows.modules.monitored import is_due


class BoundMonitor(Callback):
    r"""Log the terms of the training loss every ``log_every_n_steps`` steps, in its unit.

    .. math:: -\log p(z) - \log|\det J| + \log q(u \mid x)

    ``bound/latents``, ``bound/log_det`` and, for images, ``bound/dequantization``: means over the batch of this
    process. They are outputs of the training step, so no second pass or device synchronization is needed.

    >>> from lightning_flows import AutoregressiveFlow, VectorFlowModule
    >>> from lightning_flows.app.default_trainer import default_trainer
    >>> from lightning_flows.data import ToyDataModule
    >>> options = {"fast_dev_run": True, "log_every_n_steps": 1, "enable_model_summary": False}
    >>> trainer = default_trainer(callbacks=[BoundMonitor()], **options)
    >>> trainer.fit(VectorFlowModule((2,), AutoregressiveFlow), ToyDataModule(num_val=16))
    >>> sorted(name for name in trainer.logged_metrics if name.startswith("bound/"))
    ['bound/latents', 'bound/log_det']
    """

    def __init__(self) -> None:
        self._is_due = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._is_due = is_due(trainer)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self._is_due:
            for name, term in outputs["terms"].items():
                pl_module.log(f"bound/{name}", pl_module.loss_of(term, batch).mean(), rank_zero_only=True)
