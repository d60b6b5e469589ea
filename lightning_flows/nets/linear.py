"""Linear maps of vectors whose matrix may be masked and normalized."""

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_flows.nets.packing import Packing
from lightning_flows.nets.spectral_norm import SpectralNorm


class NormalizedLinear(nn.Module):
    r"""Linear map :math:`x \mapsto \bar W x + b` whose matrix, initially ``weight``, is masked and normalized.

    Args:
        weight: initial matrix ``(out_features, in_features)``.
        bias: whether there is a bias b, initially zero.
        mask: zeros and ones of the weight's shape.
        max_norm: bound on the spectral norm, see :class:`SpectralNorm`; None for no bound.
        groups: number of groups of outputs that are normalized separately.

    Shapes: x ``(B, in_features)``; returns ``(B, out_features)``.

    >>> import torch
    >>> layer = NormalizedLinear(torch.tensor([[10.0, 0.0], [0.0, 1.0]]), max_norm=0.9)
    >>> layer.matrix().detach().round(decimals=3)
    tensor([[0.9000, 0.0000],
            [0.0000, 0.0900]])
    """

    mask: Tensor | None

    def __init__(
        self,
        weight: Tensor,
        *,
        bias: bool = True,
        mask: Tensor | None = None,
        max_norm: float | None = None,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.clone())
        self.bias = nn.Parameter(weight.new_zeros(len(weight))) if bias else None
        self.register_buffer("mask", None if mask is None else mask.to(weight.dtype), persistent=False)
        self.spectral_norm = None
        if max_norm is not None:
            packing = Packing((*weight.shape, 1, 1))  # a convolution of one pixel
            self.spectral_norm = SpectralNorm(
                self.masked_weight(), (1, 1), packing=packing, max_norm=max_norm, groups=groups
            )

    def masked_weight(self) -> Tensor:
        """Return the matrix before its normalization, as its spectral norm stores it: ``(out, 1, in)``."""
        return (self.weight if self.mask is None else self.weight * self.mask)[:, None]

    def matrix(self, *, update: bool = False) -> Tensor:
        """Return the masked and normalized matrix; ``update`` steps the power iteration in train mode."""
        if self.spectral_norm is None:
            return self.masked_weight()[:, 0]
        mask = None if self.mask is None else self.mask[:, None]
        return self.spectral_norm(self.weight[:, None], mask, update=update)[:, 0]

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.matrix(update=True), self.bias)

    def extra_repr(self) -> str:
        out_features, in_features = self.weight.shape
        return f"{in_features} -> {out_features}"
