"""The parts of the bound as training goes."""

import math
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_flows.callbacks.base import is_due
from lightning_flows.functional.bits import bits_per_dim
from lightning_flows.functional.parts import noted_parts


class BoundMonitor(Callback):
    r"""Log the summands of the training loss every ``log_every_n_steps`` steps, in its unit.

    .. math:: -\log p(z) - \log|\det J| + \log q(u \mid x)

    ``bound/latents``, ``bound/log_det`` and ``bound/dequantization``: in bits per dimension for images; for graphs,
    in nats a node, there is no third. They are those of this process's batch, noted as the loss is computed, without
    another pass through the flow and without waiting for the device.
    """

    def __init__(self) -> None:
        self._noting = ExitStack()
        self._parts: dict[str, Tensor] = {}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Take notes of a step that is logged."""
        if is_due(trainer):
            self._parts = self._noting.enter_context(noted_parts())

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log the notes."""
        for name, log_prob in self._parts.items():
            pl_module.log(f"bound/{name}", _mean(log_prob, batch, pl_module), rank_zero_only=True)
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Take no more notes."""
        self._close()

    def _close(self) -> None:
        self._noting.close()
        self._parts = {}


def _mean(log_prob: Tensor, batch: Mapping[str, Tensor], pl_module: Any) -> Tensor:
    """Mean over a batch of −log_prob ``(B,)``, in the unit of the loss."""
    if "image" in batch:
        return bits_per_dim(log_prob, math.prod(pl_module.event_shape)).mean()
    return (-log_prob / (batch["mask"].sum(1) if "mask" in batch else batch["nodes"].shape[1])).mean()
