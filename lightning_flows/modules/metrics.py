"""Metrics of densities."""

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_flows.functional.bits import bits_per_dim


class ExactMean(Metric):
    """Mean of values ``(B,)``, exact over ranks and batches of any size.

    Sums are kept in float64 and reduced by sum, so the result does not depend on how the items were cut into batches or
    over devices.

    >>> metric = ExactMean()
    >>> metric.update(torch.tensor([1.0, 2.0])), metric.update(torch.tensor([6.0]))
    (None, None)
    >>> metric.compute()
    tensor(3., dtype=torch.float64)
    """

    higher_is_better = False
    is_differentiable = False
    full_state_update = False
    total: Tensor
    squares: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("squares", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, values: Tensor) -> None:
        """Add the values of one batch."""
        values = values.detach().double()
        self.total += values.sum()
        self.squares += values.square().sum()
        self.count += values.numel()

    def compute(self) -> Tensor:
        """The mean."""
        return self.total / self.count


class StandardError(ExactMean):
    """Standard error of the mean that :class:`ExactMean` gives."""

    def compute(self) -> Tensor:
        """Standard deviation over items divided by the root of their number; NaN for fewer than two."""
        variance = (self.squares - self.total.square() / self.count).clamp(min=0) / (self.count - 1)
        return (variance / self.count).sqrt()


class BitsPerDim(ExactMean):
    """Mean bits per dimension of images; ``update`` takes log-probabilities ``(B,)`` in nats.

    >>> metric = BitsPerDim(num_dims=2)
    >>> metric.update(torch.tensor([-2.0, -4.0]) * torch.log(torch.tensor(2.0)))
    >>> metric.compute()
    tensor(1.5000, dtype=torch.float64)
    """

    def __init__(self, num_dims: int) -> None:
        super().__init__()
        self.num_dims = num_dims

    def update(self, values: Tensor) -> None:
        """Add the images of one batch."""
        super().update(bits_per_dim(values.detach().double(), self.num_dims))


class BitsPerDimError(BitsPerDim, StandardError):
    """Standard error of the mean over images that :class:`BitsPerDim` gives, in bits per dimension."""
