"""Learning rate and gradient norm."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import Optimizer

from lightning_flows.modules.monitored import is_due


class OptimizerMonitor(Callback):
    r"""Log ``optimizer/learning_rate`` and ``optimizer/gradient_norm``, every ``log_every_n_steps`` steps.

    The norm is :math:`\sqrt{\sum_p \|\partial L/\partial p\|^2}` over all parameters, before clipping. Gradients are
    the same on all ranks. The device is not synchronized.

    >>> from lightning_flows import AutoregressiveFlow, VectorFlowModule
    >>> from lightning_flows.app.default_trainer import default_trainer
    >>> from lightning_flows.data import ToyDataModule
    >>> options = {"fast_dev_run": True, "log_every_n_steps": 1, "enable_model_summary": False}
    >>> trainer = default_trainer(callbacks=[OptimizerMonitor()], **options)
    >>> trainer.fit(VectorFlowModule((2,), AutoregressiveFlow), ToyDataModule(num_val=16))
    >>> sorted(name for name in trainer.logged_metrics if name.startswith("optimizer/"))
    ['optimizer/gradient_norm', 'optimizer/learning_rate']
    """

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Log before the gradient is clipped."""
        if not is_due(trainer):
            return
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        values: dict[str, Any] = {"optimizer/learning_rate": optimizer.param_groups[0]["lr"]}
        if gradients:
            values["optimizer/gradient_norm"] = torch.nn.utils.get_total_norm(gradients)
        pl_module.log_dict(values, rank_zero_only=True)
