"""Masked autoregressive nets of vectors."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_flows.errors import ShapeError, UsageError, check_sizes
from lightning_flows.nets.linear import NormalizedLinear
from lightning_flows.nets.spectral_norm import default_kernel

Activation = Literal["elu", "relu", "silu"]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"elu": F.elu, "relu": F.relu, "silu": F.silu}

BoundNet = Callable[..., Tensor]
"""A net with given effective parameters: called with y and, if the net takes one, a context."""


class MADE(nn.Module):
    r"""Strictly autoregressive functions of a vector with a shared representation.

    .. math:: h_0 = a(A y) + c, \qquad h_l = a(B_l h_{l-1}), \qquad \text{output}_k = C_k h_{\text{depth}}

    Output i depends on :math:`y_j` only for j < i. A hidden unit of degree d sees inputs up to number d, and hidden
    units up to degree d; output i sees hidden units of a degree below i. Degrees ascend and are spread evenly over
    the useful ones. Units of degree 0 see only the context.

    Args:
        size: number of values D.
        width: hidden units per layer.
        depth: number of hidden layers B between the first layer and the outputs.
        num_outputs: number of functions.
        context: whether the net takes a context c, which is added after the first layer.
        activation: a.
        max_norm: bound on the spectral norm of each matrix, and of each output separately; None for no bound.
        reverse: whether output i depends on j > i instead.

    Shapes: y ``(B, size)``, context ``(B, width)`` or None; returns the functions ``(num_outputs, B, size)`` in
    y's dtype.
    Raises: UsageError for sizes below 1 or an unknown activation; ShapeError for a context of another shape.
    Source: Germain et al., MADE, 2015; with the context of Kingma et al., Inverse Autoregressive Flow, 2016.

    >>> y = torch.randn(1, 4)
    >>> net = MADE(4, 16)
    >>> jacobian = torch.autograd.functional.jacobian(lambda y: net(y)[0, 0], y)[:, 0]
    >>> (jacobian != 0).int()
    tensor([[0, 0, 0, 0],
            [1, 0, 0, 0],
            [1, 1, 0, 0],
            [1, 1, 1, 0]], dtype=torch.int32)
    """

    def __init__(
        self,
        size: int,
        width: int,
        *,
        depth: int = 1,
        num_outputs: int = 2,
        context: bool = False,
        activation: Activation = "elu",
        max_norm: float | None = None,
        reverse: bool = False,
    ) -> None:
        super().__init__()
        check_sizes(size=size, width=width, num_outputs=num_outputs)
        check_sizes(0, depth=depth)
        if activation not in ACTIVATIONS:
            raise UsageError(f"expected an activation among {', '.join(ACTIVATIONS)}; got {activation!r}")
        self.size, self.width, self.num_outputs, self.reverse = size, width, num_outputs, reverse
        self.activation, self.num_parameters = activation, width if context else 0
        inputs = torch.arange(1, size + 1)
        inputs, hidden = inputs.flip(0) if reverse else inputs, hidden_degrees(size, width, context=context)
        masks = [hidden[:, None] >= inputs, *[hidden[:, None] >= hidden] * depth]
        self.layers = nn.ModuleList(
            NormalizedLinear(default_kernel(*mask.shape), mask=mask, max_norm=max_norm) for mask in masks
        )
        mask = (inputs[:, None] > hidden).repeat(num_outputs, 1)
        self.outputs = NormalizedLinear(
            0.1 * default_kernel(*mask.shape), mask=mask, max_norm=max_norm, groups=num_outputs
        )

    def bind(self, *, update: bool = False) -> BoundNet:
        """Return the net as a function of y and the context, with its matrices evaluated once."""
        first, *others, last = self.bound_layers(update=update)
        activate = ACTIVATIONS[self.activation]

        def apply(y: Tensor, context: Tensor | None = None) -> Tensor:
            h = activate(F.linear(y, *first))
            if self.num_parameters:
                h = h + self._checked(y, context).to(h.dtype)
            for layer in others:
                h = activate(F.linear(h, *layer))
            outputs = F.linear(h, *last).to(y.dtype)
            return outputs.unflatten(1, (self.num_outputs, self.size)).movedim(1, 0)

        return apply

    def bound_layers(self, *, update: bool = False) -> list[tuple[Tensor, Tensor]]:
        """Masked and normalized matrices, and biases, from the first layer to the outputs."""
        return [(layer.matrix(update=update), layer.bias) for layer in (*self.layers, self.outputs)]

    def bind_unrolled(self) -> "Callable[..., Unrolled]":
        """Return a function of a batch like y, and a context, that starts evaluating the net one value at a time."""
        layers = self.bound_layers()

        def unroll(y: Tensor, context: Tensor | None = None) -> Unrolled:
            return Unrolled(self, layers, y, self._checked(y, context) if self.num_parameters else None)

        return unroll

    def forward(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        return self.bind(update=True)(y, context)

    def _checked(self, y: Tensor, context: Tensor | None) -> Tensor:
        if context is None or context.shape != (y.shape[0], self.width):
            got = "none" if context is None else f"shape {tuple(context.shape)}"
            raise ShapeError(f"expected a context of shape {(y.shape[0], self.width)}; got {got}")
        return context

    def extra_repr(self) -> str:
        return f"size={self.size}, num_outputs={self.num_outputs}, activation={self.activation}"


class Unrolled:
    """Outputs of a :class:`MADE` for one value after another, all of them at the cost of one pass of the net.

    A hidden unit is evaluated once, as soon as the values that it sees are known.

    Shapes: values ``(B,)``, outputs ``(num_outputs, B)``.

    >>> net, y = MADE(3, 8), torch.randn(5, 3)
    >>> steps = net.bind_unrolled()(y)
    >>> outputs = [steps.outputs(), *[steps.outputs(y[:, i]) for i in range(2)]]
    >>> torch.allclose(torch.stack(outputs, 2), net(y), atol=1e-6)
    True
    """

    def __init__(self, net: MADE, layers: list[tuple[Tensor, Tensor]], y: Tensor, context: Tensor | None) -> None:
        (first, bias), *others, (outputs, output_bias) = layers
        self.layers = [(first.flip(1) if net.reverse else first, bias), *others]  # inputs as they become known
        heads = (net.num_outputs, net.size)
        self.heads = outputs.unflatten(0, heads), output_bias.unflatten(0, heads)
        self.activate, self.context = ACTIVATIONS[net.activation], context
        self.order = range(net.size)[:: -1 if net.reverse else 1]
        degrees = hidden_degrees(net.size, net.width, context=context is not None)
        self.ends = torch.searchsorted(degrees, torch.arange(net.size), right=True).tolist()
        self.known = y[:, :0]
        self.hidden = [self.known] * len(self.layers)

    def outputs(self, value: Tensor | None = None) -> Tensor:
        """The outputs for the next value, given the one before it, or None for the first."""
        if value is not None:
            self.known = torch.cat([self.known, value[:, None]], dim=1)
        step, seen = self.known.shape[1], self.known
        new, place = slice(self.hidden[0].shape[1], self.ends[step]), self.order[step]
        for number, (matrix, bias) in enumerate(self.layers):
            h = self.activate(F.linear(seen, matrix[new, : seen.shape[1]], bias[new]))
            if number == 0 and self.context is not None:
                h = h + self.context[:, new].to(h.dtype)
            seen = self.hidden[number] = torch.cat([self.hidden[number].to(h.dtype), h], dim=1)
        matrix, bias = self.heads
        return F.linear(seen, matrix[:, place, : seen.shape[1]], bias[:, place]).mT.to(self.known.dtype)


def hidden_degrees(size: int, width: int, *, context: bool = False) -> Tensor:
    """Degrees ``(width,)`` of hidden units, ascending and evenly spread; the last one is D − 1, so no input is unused.

    Degree 0 occurs with a context, which the first output depends on, and where there is only one value.

    >>> hidden_degrees(4, 6).tolist(), hidden_degrees(4, 6, context=True).tolist(), hidden_degrees(4, 1).tolist()
    ([1, 1, 2, 2, 3, 3], [0, 1, 1, 2, 3, 3], [3])
    """
    lowest = 0 if context or size == 1 else 1
    return size - 1 - torch.arange(width).flip(0) * (size - lowest) // width
