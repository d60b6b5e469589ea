"""The terms of the bound during training."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_flows.callbacks.base import is_due


class BoundMonitor(Callback):
    r"""Log the terms of the training loss every ``log_every_n_steps`` steps, in its unit.

    .. math:: -\log p(z) - \log|\det J| + \log q(u \mid x)

    ``bound/latents``, ``bound/log_det`` and ``bound/dequantization``: in bits per dimension for images; for graphs,
    in nats per node, there is no third. They are those of this process's batch, as ``training_step`` returns them,
    without another pass through the flow and without a device synchronization.
    """

    def __init__(self) -> None:
        self._due = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._due = is_due(trainer)  # before the optimizer's step is counted

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self._due and isinstance(outputs, dict):
            for name, term in outputs.get("terms", {}).items():
                pl_module.log(f"bound/{name}", pl_module.loss_of(term, batch).mean(), rank_zero_only=True)
