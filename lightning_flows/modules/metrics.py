"""Metrics of densities, and the modules that log them."""

from typing import Any

from lightning.pytorch import LightningModule
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class MeanAndError(Metric):
    """Mean of values ``(B,)`` and its standard error, exact for batches and ranks of any sizes.

    All values are kept on their device and summed on the host in float64. The error is NaN for a single value.

    >>> import torch
    >>> metric = MeanAndError()
    >>> metric.update(torch.tensor([1.0, 2.0])), metric.update(torch.tensor([6.0]))
    (None, None)
    >>> metric.compute()
    (tensor(3., dtype=torch.float64), tensor(1.5275, dtype=torch.float64))
    """

    higher_is_better = False
    is_differentiable = False
    full_state_update = False
    values: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("values", [], dist_reduce_fx="cat")

    def update(self, values: Tensor) -> None:
        self.values.append(values.detach())

    def compute(self) -> tuple[Tensor, Tensor]:
        values = dim_zero_cat(self.values).cpu().double()
        mean, num = values.mean(), len(values)
        return mean, ((values - mean).square().sum() / (num - 1) / num).sqrt()


class Evaluated(LightningModule):
    """A module whose metrics are attributes that start with ``val_`` or ``test_``.

    They are reset when an evaluation starts, because one that was interrupted does not end.
    """

    unit: str

    def on_validation_epoch_start(self) -> None:
        self._reset("val_")

    def on_test_epoch_start(self) -> None:
        self._reset("test_")

    def log_loss(self, stage: str, metric: MeanAndError, *, with_error: bool = False, **options: Any) -> None:
        """Log the mean of a metric as ``stage/loss`` and under its unit."""
        mean, error = metric.compute()
        self.log(f"{stage}/loss", mean)
        self.log(f"{stage}/{self.unit}", mean, **options)
        if with_error:
            self.log(f"{stage}/{self.unit}_standard_error", error)

    def _reset(self, prefix: str) -> None:
        for name, metric in self.named_children():
            if name.startswith(prefix) and isinstance(metric, Metric):
                metric.reset()
