"""Modules of flows with exact log-densities, which may be compared with a known density of the data."""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Literal

from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from lightning_flows.flows import Flow
from lightning_flows.modules.base import Batch, FlowModule
from lightning_flows.modules.components import PAPER_ADAM, built
from lightning_flows.modules.diagnosis import check_parameters
from lightning_flows.modules.metrics import MeanAndError
from lightning_flows.modules.schedules import WarmupCosine

SHOWN = 10
"""Items that a warning names."""


class DensityModule(FlowModule):
    r"""Maximize the log-density of a flow without dequantization.

    Logs ``train/nll``, ``val/nll`` and ``test/nll``; if batches contain the exact log-density ``true_log_prob``
    ``(B,)`` in nats, also the gap ``val/gap`` and ``test/gap``, the mean of :math:`\log p_{true} - \log p_{model}` in
    the unit of the loss, with ``test/gap_standard_error``. The gap's standard error is far below that of the NLL,
    because both densities are of the same items. If the data module knows the entropy of the data, the entropy plus the
    gap is a better estimate of the NLL: ``test/entropy`` and ``test/nll_from_gap``.

    Args:
        event_shape: shape of an item; None takes it from a flow passed as an instance.
        flow: flow, as an instance or a function of ``event_shape``.
        kind: class that the flow must have.
    """

    unit = "nll"
    model: Flow

    def __init__(
        self,
        event_shape: Sequence[int] | None,
        flow: Callable[[Sequence[int]], Flow],
        kind: type[Flow] = Flow,
        *,
        optimizer: OptimizerCallable = PAPER_ADAM,
        lr_scheduler: LRSchedulerCallable | None = WarmupCosine,
        lr_interval: Literal["epoch", "step"] | None = None,
        recompute: bool = False,
    ) -> None:
        model = built(flow, event_shape, kind)
        if recompute:
            model.recompute = True
        self.init_args |= {"flow": model}
        super().__init__(
            model, model.event_shape, optimizer=optimizer, lr_scheduler=lr_scheduler, lr_interval=lr_interval
        )
        self.val_gap, self.test_gap = MeanAndError(), MeanAndError()
        self.logged += ["val/gap"]

    def true_entropy(self) -> tuple[float, float] | None:
        """Entropy of the data in the unit of the loss, and its standard error; None if the data do not know it."""
        return None

    def standardize(self, latents: Sequence[Tensor]) -> tuple[Tensor, ...]:
        *noises, last = latents
        return *noises, self.model.base.to_noise(last)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._score(batch, "validation", self.val_loss, self.val_gap)

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return {"index": batch["index"], **self._score(batch, "testing", self.test_loss, self.test_gap)}

    def on_validation_epoch_end(self) -> None:
        self.log_loss("val", self.val_loss, prog_bar=True)
        if self.val_gap.update_called:
            self.log("val/gap", self.val_gap.compute()[0])  # not on the bar, whose losses fill 80 columns

    def on_test_epoch_end(self) -> None:
        """Log the NLL and, if the density of the data is known, the gap to it."""
        self.log_loss("test", self.test_loss, with_error=True)
        if self.test_gap.update_called:
            gap, error = self.test_gap.compute()
            if (known := self.true_entropy()) is not None:
                self.log_dict({"test/entropy": known[0], "test/nll_from_gap": known[0] + gap})
                if known[1]:
                    self.log("test/entropy_standard_error", known[1])
            self.log_dict({"test/gap": gap, "test/gap_standard_error": error})

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Log-likelihood in nats of each item, −inf for one so far from the training data that it overflows.

        Raises: NonFiniteError if the items or a parameter are not finite, or if a likelihood is infinite.
        """
        log_prob = self.log_prob(batch)
        overflows = ~log_prob.isfinite()
        if overflows.any():
            values = [value for value in batch.values() if isinstance(value, Tensor) and value.is_floating_point()]
            if (log_prob == math.inf).any() or not all(value.isfinite().all() for value in values):
                self.check_finite(log_prob, batch, "prediction")
            check_parameters(self.model)
            numbers = ", ".join(map(str, batch["index"][overflows][:SHOWN].tolist()))
            more = ", …" if int(overflows.sum()) > SHOWN else ""
            warnings.warn(
                "the log-likelihoods of these items overflow, because they are too far from the training data, and are "
                f"given as −inf: {numbers}{more}",
                stacklevel=2,
            )
        return {"index": batch["index"], "log_likelihood": log_prob.where(~overflows, -math.inf)}

    def _score(self, batch: Batch, stage: str, loss: MeanAndError, gap: MeanAndError) -> dict[str, Tensor]:
        log_prob = self.log_prob(batch)
        self.check_finite(log_prob, batch, stage)
        results = {"loss": self.loss_of(log_prob, batch)}
        loss.update(results["loss"])
        if "true_log_prob" in batch:
            results["gap"] = self.loss_of(log_prob - batch["true_log_prob"], batch)
            gap.update(results["gap"])
        return results
