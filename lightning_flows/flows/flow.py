"""A transform and a base density make a flow."""

import torch
from torch import Tensor, nn

from lightning_flows.functional.recorded import Recorded
from lightning_flows.transforms.base import Transform, check_dtype, check_floating


class Flow(Recorded, nn.Module):
    r"""Density of x = f⁻¹(z) with z from a base density.

    .. math:: \log p(x) = \log p_Z(f(x)) + \log|\det \partial f/\partial x|

    ``base`` has ``log_prob(z) -> (B,)`` and ``sample(num, temperature=…, generator=…)``.
    Shapes: x ``(B, *event)``; densities ``(B,)`` in nats.
    """

    def __init__(self, transform: Transform, base: nn.Module) -> None:
        super().__init__()
        self.transform, self.base = transform, base

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density ``(B,)`` in nats."""
        self._check(x)
        z, log_det = self.transform(x, context)
        return self.base.log_prob(z) + log_det

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Data to latent."""
        self._check(x)
        return self.transform(x, context)[0]

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Latent to data."""
        self._check(z)
        return self.transform.decode(z, context)

    def _check(self, x: Tensor) -> None:
        parameter = next(self.parameters(), None)
        check_floating(x) if parameter is None else check_dtype(x, parameter)

    def sample(
        self,
        num: int,
        context: Tensor | None = None,
        *,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw ``(num, *event)``."""
        return self.decode(self.base.sample(num, temperature=temperature, generator=generator), context)

    def sample_and_log_prob(
        self, num: int, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw ``(num, *event)`` and its log-density ``(num,)``, in one pass."""
        z = self.base.sample(num, generator=generator)
        x, log_det = self.transform.inverse(z, context)
        return x, self.base.log_prob(z) - log_det
