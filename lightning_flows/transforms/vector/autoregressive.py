"""Layers in which each value is transformed given those before it."""

from abc import abstractmethod
from typing import Any, cast

import torch
import torch.nn.functional as F
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

FORGET_BIAS = 1.0
"""Added to the argument of gates, which are then nearly open at first."""


class Autoregressive(Transform):
    """Base of layers that transform each value by a monotone map whose parameters are outputs of a :class:`MADE`."""

    def __init__(self, net: MADE) -> None:
        super().__init__((net.size,))
        self.net, self.num_parameters = net, net.num_parameters

    @abstractmethod
    def transform_values(self, x: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Map values to z and log z', given the outputs of the net, ``(num_outputs, *x.shape)``."""

    @abstractmethod
    def invert_values(self, z: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Map z to values and their log-derivatives: the inverse of :meth:`transform_values`."""

    def forward(self, x: Tensor, context: Any = None) -> Result:
        outputs = self.net.bind(update=True)(x, context)
        with full_precision(x):
            z, log_derivative = self.transform_values(x, outputs)
            return z, log_derivative.sum(1)

    def inverse(self, z: Tensor, context: Any = None) -> Result:
        steps = self.net.bind_unrolled()(z, context)
        values: list[Tensor] = []
        log_det = z.new_zeros(len(z))
        for i in steps.order:
            outputs = steps.outputs(*values[-1:])
            with full_precision(z):
                value, log_derivative = self.invert_values(z[:, i], outputs)
                log_det = log_det + log_derivative
            values.append(value)
        return torch.stack(values[:: -1 if self.net.reverse else 1], dim=1), log_det


class MaskedAutoregressive(Autoregressive):
    r"""Transform each value by a monotone map, given the values before it.

    .. math:: z_i = T\big(x_i;\, \mathrm{net}(x_1, \dots, x_{i-1})_i\big), \qquad
              \log|\det J| = \sum_i \log T'(x_i)

    T is affine, the distribution function of a Gaussian mixture, or a spline, which is inverted in closed form. The
    density takes one pass of the net, and the inverse evaluates each unit of it once. Compose it with a
    :class:`Reversal` or a :class:`Permutation`, so that each value depends on all others.

    Shapes: x, z ``(B, size)``; context ``(B, width)`` if the net takes one, see :class:`MADE`.
    Args:
        size: D.
        width: hidden units per layer of the net.
        depth: number of its hidden layers after the first.
        value_map: T.
        components: Gaussians of the mixture, or bins of the spline.
        context: whether the layer takes a context.
        activation: of the net.
        reverse: whether values depend on those after them instead.

    Raises: UsageError for sizes below 1. Source: Papamakarios et al., Masked Autoregressive Flow, 2017.

    >>> layer = MaskedAutoregressive(3, 16)
    >>> x = torch.randn(1, 3)
    >>> jacobian = torch.autograd.functional.jacobian(lambda x: layer(x)[0].sum(0), x)[:, 0]
    >>> torch.equal(jacobian, jacobian.tril())
    True
    >>> torch.allclose(layer(x)[1], jacobian.diagonal().log().sum(), atol=1e-4)
    True
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
        num_outputs = num_map_parameters(value_map, components)
        options: dict[str, Any] = {"context": context, "activation": activation, "reverse": reverse}
        super().__init__(MADE(size, width, depth=depth, num_outputs=num_outputs, **options))
        self.value_map = value_map
        with torch.no_grad():
            initial = initial_params(value_map, components)
            cast(Tensor, self.net.outputs.bias).copy_(initial[:, None].expand(-1, size).flatten())

    def transform_values(self, x: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
        return apply_map(self.value_map, x, outputs, dim=0)

    def invert_values(self, z: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
        return invert_map(self.value_map, z, outputs, dim=0)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, value_map={self.value_map}"


class InverseAutoregressive(Autoregressive):
    r"""Mix each value with a function of those before it, by a gate that is another such function.

    .. math:: z_i = g_i\, x_i + (1 - g_i)\, m_i, \qquad g_i = \sigma(a_i + 1), \qquad
              \log|\det J| = \sum_i \log g_i, \qquad (m_i, a_i) = \mathrm{net}(x_1, \dots, x_{i-1})_i

    As a posterior, its cheap direction draws samples and their log-density.
    Args, shapes, errors: as :class:`MaskedAutoregressive`.
    Source: Kingma et al., Improving variational inference with inverse autoregressive flow, 2016.

    >>> layer = InverseAutoregressive(3, 16, context=True)
    >>> z, log_det = layer(torch.randn(5, 3), torch.randn(5, 16))
    >>> z.shape, bool((log_det < 0).all())  # gates are below 1
    (torch.Size([5, 3]), True)
    """

    def __init__(
        self,
        size: int,
        width: int,
        *,
        depth: int = 1,
        context: bool = False,
        activation: Activation = "elu",
        reverse: bool = False,
    ) -> None:
        super().__init__(MADE(size, width, depth=depth, context=context, activation=activation, reverse=reverse))

    def transform_values(self, x: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
        mean, argument = outputs
        gate = torch.sigmoid(argument + FORGET_BIAS)
        return torch.lerp(mean, x, gate), F.logsigmoid(argument + FORGET_BIAS)

    def invert_values(self, z: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
        mean, argument = outputs
        gate = torch.sigmoid(argument + FORGET_BIAS)
        return mean + (z - mean) / gate, -F.logsigmoid(argument + FORGET_BIAS)
