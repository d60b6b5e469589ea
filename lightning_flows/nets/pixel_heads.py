"""Maps of the channels of a pixel, given the outputs of a net for that pixel."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lightning_flows.errors import check_sizes
from lightning_flows.functional.value_maps import ValueMap, apply_map, initial_params, invert_value, num_map_parameters
from lightning_flows.nets.made import MADE

Inverse = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""A function of z, outputs and a shift s that solves T(y - s) = z, and returns y and, for y as rounded, T(y - s) and
log T'."""


class LinearHead(nn.Module):
    r"""Maps of values minus multiples of the lower channels; multiples and parameters are outputs of a net.

    .. math:: z_c = T\big(y_c - \textstyle\sum_{b<c} l_{cb}\, y_b;\, \theta_c\big)

    It has no parameters of its own. Shapes: y, z ``(..., C)``, outputs ``(..., num_inputs)``.

    Args:
        channels: C.
        value_map: T, see :func:`apply_map`.
        components: number of Gaussians of a mixture, or of bins of a spline.

    >>> head = LinearHead(3)
    >>> y, outputs = torch.randn(2, 3), torch.randn(2, head.num_inputs)
    >>> z, log_slope = head(y, outputs)
    >>> torch.allclose(head.bind_inverse()(z, outputs, torch.zeros(3))[0], y, atol=1e-3), log_slope.shape
    (True, torch.Size([2, 3]))
    """

    def __init__(self, channels: int, value_map: ValueMap = "mixture", components: int = 8) -> None:
        super().__init__()
        check_sizes(channels=channels)
        self.channels, self.value_map = channels, value_map
        self.num_maps = channels * num_map_parameters(value_map, components)
        self.num_inputs = self.num_maps + channels * (channels - 1) // 2
        self.components = components

    def initial_outputs(self) -> Tensor:
        """Outputs ``(num_inputs,)`` of the net for which T is a map to start from, without multiples."""
        maps = initial_params(self.value_map, self.components).repeat(self.channels)
        return torch.cat([maps, maps.new_zeros(self.num_inputs - self.num_maps)])

    def forward(self, y: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return z and log T'."""
        params, multiples = self._split(outputs)
        # the strictly lower triangle of multiples, times the channels
        rest = y - (multiples * y[..., None, :]).sum(-1)
        return apply_map(self.value_map, rest, params, dim=0)

    def bind_inverse(self) -> Inverse:
        """Return the inverse."""
        return self._inverse

    def _inverse(self, z: Tensor, outputs: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        params, multiples = self._split(outputs)
        rest = invert_value(self.value_map, z, params, dim=0)
        known = rest[..., :1]
        for channel in range(1, self.channels):
            value = rest[..., channel] + (multiples[..., channel, :channel] * known).sum(-1)
            known = torch.cat([known, value[..., None]], dim=-1)
        y = known + shift
        return y, *self(y - shift, outputs)

    def _split(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Parameters of the maps ``(P, ..., C)``, and multiples ``(..., C, C)``, of outputs ``(..., num_inputs)``."""
        params = outputs[..., : self.num_maps].unflatten(-1, (self.channels, -1)).movedim(-1, 0)
        rows, columns = torch.tril_indices(self.channels, self.channels, -1, device=outputs.device)
        flat = outputs.new_zeros(*outputs.shape[:-1], self.channels**2)
        flat = flat.index_copy(-1, rows * self.channels + columns, outputs[..., self.num_maps :])
        return params, flat.unflatten(-1, (self.channels, self.channels))

    def extra_repr(self) -> str:
        return f"value_map={self.value_map}"


class MaskedHead(nn.Module):
    r"""Maps of values whose parameters are a masked net of the lower channels, with the outputs of a net as context.

    .. math:: z_c = T(y_c; \theta_c), \qquad \theta = \mathrm{MADE}(y, \text{outputs})

    Shapes: y, z ``(..., C)``, outputs ``(..., width)``.

    Args:
        channels: C.
        width: hidden units of the masked net.
        value_map: T, see :func:`apply_map`.
        components: number of Gaussians of a mixture, or of bins of a spline.

    >>> head = MaskedHead(3, width=8)
    >>> y, outputs = torch.randn(2, 3), torch.randn(2, head.num_inputs)
    >>> z, log_slope = head(y, outputs)
    >>> torch.allclose(head.bind_inverse()(z, outputs, torch.zeros(3))[0], y, atol=1e-3), log_slope.shape
    (True, torch.Size([2, 3]))
    """

    def __init__(self, channels: int, width: int, value_map: ValueMap = "mixture", components: int = 8) -> None:
        super().__init__()
        self.channels, self.value_map, self.num_inputs = channels, value_map, width
        num_outputs = num_map_parameters(value_map, components)
        self.made = MADE(channels, width, num_outputs=num_outputs, context=True, activation="silu")
        with torch.no_grad():
            initial = initial_params(value_map, components)
            bias = self.made.outputs.bias
            assert bias is not None
            bias.copy_(initial[:, None].expand(-1, channels).flatten())

    def initial_outputs(self) -> Tensor:
        """Outputs ``(width,)`` of the net to start from."""
        return torch.zeros(self.num_inputs)

    def forward(self, y: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return z and log T'."""
        params = self.made.bind()(y.flatten(0, -2), outputs.flatten(0, -2))
        return apply_map(self.value_map, y, params.unflatten(1, y.shape[:-1]), dim=0)

    def bind_inverse(self) -> Inverse:
        """Return the inverse, which finds one channel after another, with matrices evaluated once."""
        unroll = self.made.bind_unrolled()

        def inverse(z: Tensor, outputs: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            flat = z.flatten(0, -2)
            steps = unroll(flat, outputs.flatten(0, -2))
            values: list[Tensor] = []
            params: list[Tensor] = []
            for channel in steps.order:
                params.append(steps.outputs(*values[-1:]))
                values.append(invert_value(self.value_map, flat[:, channel], params[-1], dim=0))
            y = torch.stack(values, dim=1).view(z.shape) + shift
            of_all = torch.stack(params, dim=-1).unflatten(1, z.shape[:-1])
            return y, *apply_map(self.value_map, y - shift, of_all, dim=0)

        return inverse

    def extra_repr(self) -> str:
        return f"value_map={self.value_map}"
