"""Layers whose parameters are a linear function of a context."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_flows.errors import UsageError, check_sizes
from lightning_flows.nets.values import split_context
from lightning_flows.transforms.base import Transform
from lightning_flows.transforms.compose import Compose


class Amortized(Compose):
    r"""Composition of layers whose parameters are, per sample, a linear function of a context h.

    .. math:: z = f_n(\dots f_1(x;\, \theta_1(h)) \dots;\, \theta_n(h)), \qquad
              (\theta_1, \dots, \theta_n) = A h + a

    Layer i gets ``layer.num_parameters`` of them as its context; those that take none get None. The first ``shared``
    values of each layer's context may be the same for all layers, such as the context of their nets.

    Shapes: x, z ``(B, D)``, h ``(B, context_features)``.
    Raises: UsageError for no features, or a layer that takes some parameters, but fewer than ``shared``.

    >>> from lightning_flows.transforms import Planar
    >>> flow = Amortized([Planar(2, amortized=True), Planar(2, amortized=True)], 3)
    >>> z, log_det = flow(torch.zeros(4, 2), torch.zeros(4, 3))
    >>> flow.linear, z.shape, log_det.shape
    (Linear(in_features=3, out_features=10, bias=True), torch.Size([4, 2]), torch.Size([4]))
    """

    def __init__(self, layers: Sequence[Transform], context_features: int, *, shared: int = 0) -> None:
        super().__init__(layers)
        check_sizes(context_features=context_features)
        for layer in layers:
            if 0 < layer.num_parameters < shared:
                raise UsageError(f"expected layers with at least {shared} parameters; got {layer.num_parameters}")
        self.num_parameters = context_features
        self.takes = [layer.num_parameters > 0 for layer in layers]
        self.sizes = [shared, *(max(0, layer.num_parameters - shared) for layer in layers)]
        self.linear = nn.Linear(context_features, sum(self.sizes))

    def contexts(self, context: Any) -> list[Any]:
        values = self.linear(context).to(context.dtype)
        shared, *own = split_context(values, self.sizes)
        return [_joined(shared, part) if takes else None for takes, part in zip(self.takes, own, strict=True)]


def _joined(*parts: Tensor | None) -> Tensor:
    given = [part for part in parts if part is not None]
    return given[0] if len(given) == 1 else torch.cat(given, dim=1)
