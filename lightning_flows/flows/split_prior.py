"""Factoring out half of the channels to a density of its own."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_flows.errors import ShapeError
from lightning_flows.transforms.image.coupling import AffineCoupling


class SplitPrior(nn.Module):
    r"""Split x into (x₁, x₂), keep x₁, and model x₂ given x₁ as a Gaussian.

    .. math:: p(x_2 \mid x_1) = \mathcal N(\varepsilon; 0, I)\,e^{\sum\ell}, \qquad
              \varepsilon = x_2 e^{\ell(x_1)} + t(x_1)

    A coupling layer whose second output is noise: ``forward(x) -> (x₁, ε, log_det)``,
    ``inverse(x₁, ε) -> (x, log_det)``, ``decode(x₁, ε) -> x``.
    Shapes: x ``(B, C, H, W)``; x₁ the first ⌊C/2⌋ channels, ε the rest; log_det ``(B,)`` in nats.
    Source: Kingma and Dhariwal, Glow, 2018; Dinh et al., RealNVP, 2017, section 3.6.
    """

    def __init__(self, coupling: AffineCoupling) -> None:
        super().__init__()
        self.coupling = coupling

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        z, log_det = self.coupling(x, context)
        return z[:, : self.coupling.kept], z[:, self.coupling.kept :], log_det

    def inverse(self, kept: Tensor, noise: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.coupling.inverse(torch.cat([kept, noise], dim=1), context)

    def decode(self, kept: Tensor, noise: Tensor, context: Tensor | None = None) -> Tensor:
        return self.coupling.decode(torch.cat([kept, noise], dim=1), context)

    def split_shape(self, event_shape: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shapes of x₁ and x₂. Raises: ShapeError for other channels."""
        channels, *rest = event_shape
        if channels != self.coupling.channels:
            raise ShapeError(f"expected {self.coupling.channels} channels to split; got {channels}")
        kept = self.coupling.kept
        return (kept, *rest), (channels - kept, *rest)
