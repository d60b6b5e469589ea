"""The gate of a Sylvester layer, alone and together with the net of masked convolutions that it belongs to."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_flows.functional.precision import is_autocast
from lightning_flows.nets.masked_conv import (
    BoundNet,
    causal_conv,
    causal_conv_backward,
    column_backward,
    sum_of_columns,
)

Pair = tuple[Tensor, Tensor]
"""f(y) and the diagonal of its Jacobian."""


def gated_net(y: Tensor, net: BoundNet, gamma: float) -> Pair:
    """The gate of the net's four outputs; in training as one operation, with an explicit derivative."""
    if not torch.is_grad_enabled() or torch.compiler.is_compiling() or is_autocast(y.device.type):
        return Gated.apply(y, *net(y), gamma)
    kernels, biases, columns, *others, _ = net
    f, diagonal, *_ = _GatedNet.apply(y, gamma, *others, *kernels, *biases, *columns)
    return f, diagonal


class Gated(torch.autograd.Function):
    """f(y) and the diagonal for given t₁, a₁, t₂, a₂, with explicit derivatives; keeps only its arguments."""

    generate_vmap_rule = True

    @staticmethod
    def forward(y: Tensor, t1: Tensor, a1: Tensor, t2: Tensor, a2: Tensor, gamma: float) -> Pair:
        return _gate(y, t1, a1, t2, a2, gamma)[:2]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Pair) -> None:
        *tensors, ctx.gamma = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        y, t1, a1, _, a2 = ctx.saved_tensors
        of_f, of_diagonal = grads
        s1, s2 = torch.tanh(a1), torch.tanh(a2)
        return *_gate_backward(of_f, of_diagonal, y, s1, s2, torch.tanh(torch.addcmul(t1, y, s1)), ctx.gamma), None


class _GatedNet(torch.autograd.Function):
    """Returns f and the diagonal, then what is kept: s₁, s₂, h, hidden, and the outputs of the first convolution.

    Autograd would also keep a padded copy of y and the outputs of the net. A derivative of the derivative evaluates the
    net again.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(y: Tensor, gamma: float, *tensors: Tensor) -> tuple[Tensor, ...]:
        net = _as_net(tensors)
        parts = [torch.relu_(causal_conv(y, *pair)) for pair in zip(net.kernels, net.biases, strict=True)]
        hidden = torch.relu_(sum_of_columns(parts, net.columns, net.bias))
        heads = causal_conv(hidden, net.heads, net.heads_bias)
        t1, a1, t2, a2 = heads.chunk(4, dim=1)
        return *_gate(y, t1, a1, t2, a2, gamma), hidden, *parts

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        y, ctx.gamma, *tensors = inputs
        kept = output[2:]
        ctx.mark_non_differentiable(*kept)
        ctx.set_materialize_grads(False)
        ctx.num_kept = len(kept)
        ctx.save_for_backward(y, *kept, *tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        y, *others = ctx.saved_tensors
        of_f, of_diagonal = (torch.zeros_like(y) if grad is None else grad for grad in grads[:2])
        (s1, s2, h, hidden, *parts), net = others[: ctx.num_kept], _as_net(others[ctx.num_kept :])
        if torch.is_grad_enabled():  # what is kept is no function of y then
            pull = torch.func.vjp(_composed(ctx.gamma), y, *others[ctx.num_kept :])[1]
            of_y, *of_tensors = pull((of_f, of_diagonal))
            return of_y, None, *of_tensors
        of_y, *of_heads = _gate_backward(of_f, of_diagonal, y, s1, s2, h, ctx.gamma)
        grad, *of_last = causal_conv_backward(torch.cat(of_heads, dim=1), hidden, net.heads)
        grad = torch.ops.aten.threshold_backward(grad, hidden, 0)
        found = []
        for x, kernel, column in zip(parts, net.kernels, net.columns, strict=True):
            of_x, of_column = column_backward(grad, x, column)
            of_x = torch.ops.aten.threshold_backward(of_x, x, 0)
            of_part, *of_first = causal_conv_backward(of_x, y, kernel)
            of_y = of_y + of_part
            found.append((*of_first, of_column))
        of_kernels, of_biases, of_columns = zip(*found, strict=True)
        return of_y, None, grad.sum((0, 2, 3)), *of_last, *of_kernels, *of_biases, *of_columns


def _as_net(tensors: Sequence[Tensor]) -> BoundNet:
    """The net of the tensors of :class:`_GatedNet`."""
    (bias, heads, heads_bias, *rest), num = tensors, (len(tensors) - 3) // 3
    return BoundNet(rest[:num], rest[num : 2 * num], rest[2 * num :], bias, heads, heads_bias, 4)


def _composed(gamma: float) -> Any:
    """The same function of the same arguments in operations that autograd differentiates any number of times."""
    return lambda y, *tensors: Gated.apply(y, *_as_net(tensors)(y), gamma)


def _gate(
    y: Tensor, t1: Tensor, a1: Tensor, t2: Tensor, a2: Tensor, gamma: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """f(y), the diagonal, s₁, s₂ and h = tanh(y s₁ + t₁).

    The first two are outputs of a ``Function`` and are not changed in place: otherwise torch 2.11 compiles wrong
    gradients.
    """
    s1, s2 = torch.tanh(a1), torch.tanh(a2)
    h = torch.addcmul(t1, y, s1).tanh_()
    diagonal = torch.ops.aten.tanh_backward((s1 * s2).mul_(gamma), h)  # γ s₁ s₂ (1 − h²)
    return torch.addcmul(t2, s2, h, value=gamma), diagonal, s1, s2, h


def _gate_backward(
    of_f: Tensor, of_diagonal: Tensor, y: Tensor, s1: Tensor, s2: Tensor, h: Tensor, gamma: float
) -> tuple[Tensor, ...]:
    """Gradients with respect to y, t₁, a₁, t₂, a₂."""
    curved = torch.ops.aten.tanh_backward  # g, tanh(x) ↦ g (1 − tanh² x)
    bent = curved(of_diagonal, h)
    of_h = torch.addcmul(of_f, s1 * h, of_diagonal, value=-2)
    of_t1 = curved(of_h * s2, h) * gamma
    of_a1 = curved(torch.addcmul(of_t1 * y, bent, s2, value=gamma), s1)
    of_a2 = curved(torch.addcmul(of_f * h, bent, s1), s2) * gamma
    return of_t1 * s1, of_t1, of_a1, of_f, of_a2
