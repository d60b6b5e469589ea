"""Power iterations of several layers, advanced together."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from lightning_flows.functional.precision import full_precision
from lightning_flows.nets.spectral_norm import SpectralNorm


class Owner(Protocol):
    """A module with a spectral norm, which may be None, and the weights that it normalizes: masked, and as stored."""

    spectral_norm: SpectralNorm | None

    def masked_weight(self) -> Tensor: ...


@torch.no_grad()
def advance(owners: Iterable[Owner]) -> None:
    """Update the power iteration of each layer in train mode once; those of equal shapes in one operation."""
    equal: dict[tuple[object, ...], list[tuple[SpectralNorm, Tensor]]] = {}
    for owner in owners:
        norm = owner.spectral_norm
        if norm is not None and norm.training:
            key = (norm.constants, norm.vector.shape, norm.num_steps)
            equal.setdefault(key, []).append((norm, owner.masked_weight()))
    for pairs in equal.values():
        _advance(*zip(*pairs, strict=True))


def _advance(norms: Sequence[SpectralNorm], weights: Sequence[Tensor]) -> None:
    one = norms[0].constants
    together = one._replace(groups=len(norms) * one.groups)
    with full_precision(weights[0]):
        matrix = torch.cat([one.matrix(weight) for weight in weights])
        vector = torch.cat([norm.vector for norm in norms], dim=1)
        vector = together.iterate(matrix, vector, norms[0].num_steps)
    for norm, part in zip(norms, vector.chunk(len(norms), dim=1), strict=True):
        norm.vector = part
