"""Standardization by constant moments of the data."""

from typing import Any

import torch
from torch import Tensor, nn

from lightning_flows.errors import ShapeError, UsageError
from lightning_flows.transforms.base import Result, Transform


class Standardize(Transform):
    r"""Subtract the mean of each value of a vector, and divide by its standard deviation; neither is learned.

    .. math:: z = (x - \mu)/\sigma, \qquad \log|\det J| = -\sum_i \log \sigma_i

    So densities are of the data in their own units. The moments are buffers, stored in checkpoints. They are 0 and 1
    until :meth:`set_moments` replaces them, as training does once before its first step, by those of the training rows;
    ``is_set`` records that.

    Args:
        size: D.

    Shapes: x, z ``(B, D)``.

    >>> layer = Standardize(2)
    >>> layer.set_moments(torch.tensor([1.0, 2.0]), torch.tensor([0.5, 4.0]))
    >>> layer(torch.tensor([[2.0, 2.0]]))
    (tensor([[2., 0.]]), tensor([-0.6931]))
    """

    mean: Tensor
    std: Tensor
    is_set: Tensor

    def __init__(self, size: int) -> None:
        super().__init__((size,))
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))
        self.register_buffer("is_set", torch.tensor(False))

    def set_moments(self, mean: Tensor, std: Tensor) -> None:
        """Replace the moments, ``(D,)`` each. Raises: ShapeError; UsageError unless finite, with each std above 0."""
        if not mean.shape == std.shape == self.mean.shape:
            raise ShapeError(f"expected moments of shape {tuple(self.mean.shape)}; got {tuple(mean.shape)}")
        found = torch.stack([mean, std]).to(self.mean)
        if not bool(found.isfinite().all() & (found[1] > 0).all()):
            raise UsageError("expected finite means and standard deviations above 0: leave out constant columns")
        self.mean.copy_(found[0])
        self.std.copy_(found[1])
        self.is_set.fill_(True)

    def forward(self, x: Tensor, context: Any = None) -> Result:
        return (x - self.mean) / self.std, -self.std.log().sum()

    def inverse(self, z: Tensor, context: Any = None) -> Result:
        return z * self.std + self.mean, self.std.log().sum()


def standardize_by(module: nn.Module, mean: Tensor, std: Tensor) -> None:
    """Set each :class:`Standardize` in a module that is not set yet."""
    for layer in module.modules():
        if isinstance(layer, Standardize) and not bool(layer.is_set):
            layer.set_moments(mean, std)
