"""Learning-rate schedules of the paper and of its graph experiments."""

import math
from typing import Any

from lightning.pytorch.cli import ReduceLROnPlateau as PlateauOfMetric
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from lightning_flows.errors import UsageError, check_sizes


class WarmupExponential(LambdaLR):
    r"""Warm-up, then exponential decay, per epoch e: :math:`\eta\,\min(1, (e+1)/w)^p\,d^e`.

    Args:
        optimizer: optimizer with the learning rate η.
        warmup_epochs: w, epochs during which the learning rate rises.
        power: p, exponent of the warm-up.
        decay: d, factor per epoch.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    >>> schedule = WarmupExponential(optimizer, warmup_epochs=2, power=1.0, decay=0.5)
    >>> rates = []
    >>> for epoch in range(4):
    ...     rates += schedule.get_last_lr()
    ...     optimizer.step()
    ...     schedule.step()
    >>> rates
    [0.5, 0.5, 0.25, 0.125]
    """

    interval = "epoch"

    def __init__(self, optimizer: Optimizer, warmup_epochs: int = 10, power: float = 2.0, decay: float = 0.995) -> None:
        check_sizes(0, warmup_epochs=warmup_epochs)
        if not (0 <= power < math.inf and 0 < decay <= 1):
            raise UsageError(
                f"expected a power of at least 0 and a decay above 0 and at most 1; got {power} and {decay}"
            )
        super().__init__(optimizer, lambda epoch: min(1.0, (epoch + 1) / max(1, warmup_epochs)) ** power * decay**epoch)


class WarmupCosine(LambdaLR):
    r"""Warm-up, and a cosine to zero, per step t of T: :math:`\eta\,\min(1, (t+1)/w)\,\tfrac12 (1+\cos \pi t/T)`.

    Args:
        optimizer: optimizer with the learning rate η.
        warmup_steps: w, steps during which the learning rate rises.
        total_steps: T; by default the length of training, or no cosine if that is unlimited.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    >>> schedule = WarmupCosine(optimizer, warmup_steps=1, total_steps=4)
    >>> rates = []
    >>> for step in range(4):
    ...     rates.append(round(schedule.get_last_lr()[0], 3))
    ...     optimizer.step()
    ...     schedule.step()
    >>> rates
    [1.0, 0.854, 0.5, 0.146]
    """

    interval = "step"

    def __init__(self, optimizer: Optimizer, warmup_steps: int = 100, total_steps: int | None = None) -> None:
        check_sizes(0, warmup_steps=warmup_steps)
        if total_steps is not None:
            check_sizes(total_steps=total_steps)
        self.total_steps: float | None = total_steps

        def factor(step: int) -> float:
            share = min(1.0, step / (self.total_steps or math.inf))
            return min(1.0, (step + 1) / max(1, warmup_steps)) * 0.5 * (1 + math.cos(math.pi * share))

        super().__init__(optimizer, factor)

    def state_dict(self) -> dict[str, Any]:
        """The state without ``total_steps``: a resumed run may be longer."""
        return {key: value for key, value in super().state_dict().items() if key != "total_steps"}


class ReduceLROnPlateau(PlateauOfMetric):
    """torch's schedule of this name, which monitors the loss by default.

    Args:
        optimizer: optimizer whose learning rates are reduced.
        monitor: metric that has to improve, such as ``train/loss``.
        kwargs: see :class:`torch.optim.lr_scheduler.ReduceLROnPlateau`.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    >>> schedule = ReduceLROnPlateau(optimizer, monitor="train/loss", patience=0, factor=0.1)
    >>> for loss in (3.0, 3.0):
    ...     schedule.step(loss)
    >>> schedule.monitor, schedule.get_last_lr()
    ('train/loss', [0.1])
    """

    interval = "epoch"

    def __init__(self, optimizer: Optimizer, monitor: str = "val/loss", **kwargs: Any) -> None:
        super().__init__(optimizer, monitor, **kwargs)
