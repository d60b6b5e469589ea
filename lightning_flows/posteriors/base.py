"""The contract of posteriors."""

import math
from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from lightning_flows.errors import ShapeError, check_sizes
from lightning_flows.functional.recorded import Recorded


class Posterior(Recorded, nn.Module, ABC):
    r"""Distribution q(z | x) of D latents: a diagonal normal distribution, transformed by a flow given features h of x.

    .. math:: z_0 = \mu + \sigma \epsilon, \quad z = f(z_0; h), \quad
              \log q(z\mid x) = \sum_i \log \mathcal N(z_{0,i}; \mu_i, \sigma_i) - \log|\det \partial f/\partial z_0|

    A subclass implements :meth:`transform`.

    Args:
        latent_size: D.
        context_features: F, number of features.

    Shapes: mean, std and noise ``(B, D)``, h ``(B, F)``; returns z ``(B, D)`` and log q ``(B,)`` in nats.
    Raises: UsageError for sizes below 1; ShapeError for tensors of other shapes.

    >>> import torch
    >>> class Shifted(Posterior):  # z = z0 + h, with as many features as latents
    ...     def transform(self, z0, h):
    ...         return z0 + h, torch.zeros(len(h))
    >>> mean, std, h, noise = torch.zeros(4, 2), torch.ones(4, 2), torch.ones(4, 2), torch.zeros(4, 2)
    >>> z, log_q = Shifted(2, 2)(mean, std, h, noise)
    >>> z[0], log_q[0]
    (tensor([1., 1.]), tensor(-1.8379))
    """

    set_by_owner: ClassVar[tuple[str, ...]] = ("latent_size", "context_features")

    def __init__(self, latent_size: int, context_features: int) -> None:
        super().__init__()
        check_sizes(latent_size=latent_size, context_features=context_features)
        self.latent_size, self.context_features = latent_size, context_features

    @property
    def num_flows(self) -> int:
        """Number of transforms; 0 by default."""
        return 0

    @abstractmethod
    def transform(self, z0: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Return z ``(B, D)`` and the log-determinant ``(B,)`` of the flow."""

    def forward(self, mean: Tensor, std: Tensor, h: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        batch, latents = len(noise), self.latent_size
        for name, tensor, size in (("mean", mean, latents), ("std", std, latents), ("noise", noise, latents)):
            if tensor.shape != (batch, size):
                raise ShapeError(f"expected {name} of shape {(batch, size)}; got {tuple(tensor.shape)}")
        if h.shape != (batch, self.context_features):
            raise ShapeError(f"expected features of shape {(batch, self.context_features)}; got {tuple(h.shape)}")
        z, log_det = self.transform(mean + std * noise, h)
        log_normal = -0.5 * (noise.square() + math.log(2 * math.pi)).sum(1) - std.log().sum(1)
        return z, log_normal - log_det

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.init_args.items())
