"""Masked autoregressive layers."""

from typing import Any, cast

import torch
from torch import Tensor

from lightning_flows.functional.precision import full_precision
from lightning_flows.functional.value_maps import (
    ValueMap,
    apply_map,
    initial_params,
    invert_map,
    num_map_parameters,
)
from lightning_flows.nets.made import MADE, Activation
from lightning_flows.transforms.base import Result, Transform


class MaskedAutoregressive(Transform):
    r"""Transform each value by a monotone map, given the values before it.

    .. math:: z_i = T\big(x_i;\, \mathrm{net}(x_1, \dots, x_{i-1})_i\big), \qquad
              \log|\det J| = \sum_i \log T'(x_i)

    T is affine, or the distribution function of a Gaussian mixture. The density of all values takes one pass of the
    net, the inverse one pass per value. Compose it with a :class:`Reversal` or a :class:`Permutation`, so that each
    value depends on all others.

    Shapes: x, z ``(B, size)``; context ``(B, width)`` if the net takes one, see :class:`MADE`.
    Args:
        size: D.
        width: hidden units per layer of the net.
        depth: number of its hidden layers after the first.
        value_map: T.
        components: of the mixture.
        context: whether the layer takes a context.
        activation: of the net.
        reverse: whether values depend on those after them instead.

    Raises: UsageError for sizes below 1. Source: Papamakarios et al., Masked Autoregressive Flow, 2017.
    """

    def __init__(
        self,
        size: int,
        width: int,
        *,
        depth: int = 1,
        value_map: ValueMap = "affine",
        components: int = 8,
        context: bool = False,
        activation: Activation = "elu",
        reverse: bool = False,
    ) -> None:
        super().__init__((size,))
        num_outputs = num_map_parameters(value_map, components)
        self.value_map, self.reverse = value_map, reverse
        self.net = MADE(
            size,
            width,
            depth=depth,
            num_outputs=num_outputs,
            context=context,
            activation=activation,
            reverse=reverse,
        )
        self.num_parameters = self.net.num_parameters
        with torch.no_grad():
            initial = initial_params(value_map, components)
            cast(Tensor, self.net.outputs.bias).copy_(initial[:, None].expand(-1, size).flatten())

    def forward(self, x: Tensor, context: Any = None) -> Result:
        params = self.net.bind(update=True)(x, context)
        with full_precision(x):
            z, log_derivative = apply_map(self.value_map, x, torch.stack(params, dim=-1))
            return z, log_derivative.sum(1)

    def inverse(self, z: Tensor, context: Any = None) -> Result:
        net, x, log_det = self.net.bind(), torch.zeros_like(z), z.new_zeros(len(z))
        order = range(z.shape[1])
        for i in reversed(order) if self.reverse else order:
            params = torch.stack([part[:, i] for part in net(x, context)], dim=-1)
            with full_precision(z):
                value, log_derivative = invert_map(self.value_map, z[:, i], params)
                x = torch.cat([x[:, :i], value[:, None], x[:, i + 1 :]], dim=1)
                log_det = log_det + log_derivative
        return x, log_det

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, value_map={self.value_map}"
