"""Power iterations of convolutions, and normalization by the norm that they estimate."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_flows.functional.precision import full_precision
from lightning_flows.nets.packing import Packing


class Normalization(NamedTuple):
    r"""A convolution K as a linear map of a vector on its smaller side, and what its norm is limited to.

    The vector v has norm one and is an input of K if ``on_input_side``, else an output. The norm of :math:`K v` or
    :math:`K^\top v` estimates σ, the operator norm of K, from below. Both are products of a matrix of the weights and
    the patches of v, so that neither is ever formed on the larger side if that costs more. A 1x1 kernel acts on each
    pixel separately, so its vector has no spatial axes.

    Shapes: weights as stored by ``packing``; vector ``(1, groups * C, H, W)``, with C the number of channels on the
    smaller side. Several operators of the same shapes are evaluated together as more groups.
    """

    packing: Packing
    on_input_side: bool
    groups: int
    max_norm: float
    margin: float

    def power(self, matrix: Tensor, vector: Tensor, *, is_gram: bool = False) -> Tensor:
        """KᵀK v or KKᵀ v, shaped like v; ``matrix`` M is :meth:`matrix` of the masked weights, or M Mᵀ."""
        patches = self.patches(vector)
        return self._fold(matrix @ patches if is_gram else _gram_product(matrix, patches), vector)

    def iterate(self, matrix: Tensor, vector: Tensor, num_steps: int) -> Tensor:
        """The vector after some steps of the power iteration; ``matrix`` as in :meth:`power`."""
        for _ in range(num_steps):
            vector = self.unit(self.power(matrix, vector), vector)
        return vector

    def unit(self, vector: Tensor, otherwise: Tensor) -> Tensor:
        """Scale each group to norm one; a group of zeros becomes that of ``otherwise``."""
        by_group = vector.reshape(self.groups, -1)
        norm = torch.linalg.vector_norm(by_group, dim=1, keepdim=True)
        return torch.where(norm > 0, by_group / norm, otherwise.reshape(self.groups, -1)).reshape(vector.shape)

    def matrix(self, masked: Tensor) -> Tensor:
        """The weights as matrices ``(groups, C * taps, larger side)``."""
        if self.packing.edges:
            square = self.packing.unpack(masked).flatten(1)[None]
            return square.mT if self.on_input_side else square
        if self.on_input_side:
            return masked.reshape(self.groups, len(masked) // self.groups, -1).mT
        return masked.reshape(self.groups, -1, masked.shape[2])

    def probe(self, vector: Tensor) -> Tensor:
        """The patches P of a vector, or P Pᵀ, which is square, where products with it cost less."""
        patches = self.patches(vector)
        return patches if 2 * patches.shape[2] <= patches.shape[1] else patches @ patches.mT

    def slope(self, masked: Tensor, probe: Tensor) -> Tensor:
        """P Pᵀ M of masked weights, stored as they are, with a row for each group: half the derivative of ‖Pᵀ M‖²."""
        rows, inner = probe.shape[1:]
        if self.packing.edges:
            masked = self.packing.unpack(masked).flatten(1)
        if self.on_input_side:
            matrix = masked.reshape(self.groups, -1, rows)  # Mᵀ
            slope = matrix @ probe if rows == inner else (matrix @ probe) @ probe.mT
        else:
            matrix = masked.reshape(self.groups, rows, -1)
            slope = probe @ matrix if rows == inner else probe @ (probe.mT @ matrix)
        if len(self.packing.edges) > 2:
            return self.packing.pack(slope[0, :, :, None, None])[None]
        return slope.flatten(1)

    def patches(self, vector: Tensor) -> Tensor:
        """What each weight is multiplied by: ``(groups, C * taps, H * W)``."""
        size, taps = self.packing.shape[3], self.packing.num_taps
        by_group = vector.reshape(self.groups, -1, *vector.shape[2:])
        if size == 1:
            return by_group.flatten(2)
        whole = F.unfold(by_group, size, padding=size // 2).unflatten(1, (-1, size**2))
        # a causal kernel has the last taps only; the adjoint's are the reverse
        if self.on_input_side:
            return whole[:, :, size**2 - taps :].transpose(1, 2).flatten(1, 2)
        return whole[:, :, :taps].flip(2).flatten(1, 2)

    def _fold(self, patches: Tensor, like: Tensor) -> Tensor:
        """The adjoint of :meth:`patches`, with the shape of a vector."""
        size, taps = self.packing.shape[3], self.packing.num_taps
        if size > 1:
            if self.on_input_side:
                patches = F.pad(patches.unflatten(1, (taps, -1)).transpose(1, 2), (0, 0, size**2 - taps, 0))
            else:
                patches = F.pad(patches.unflatten(1, (-1, taps)).flip(2), (0, 0, 0, size**2 - taps))
            patches = F.fold(patches.flatten(1, 2), like.shape[2:], size, padding=size // 2)
        return patches.reshape(like.shape)


def normalize(weight: Tensor, mask: Tensor | None, vector: Tensor, constants: Normalization) -> Tensor:
    r"""Mask the stored weights of a kernel K, and divide them so that its operator norm is at most c.

    .. math:: \bar K = K/d, \qquad d = \max(1, \sigma/c) + \epsilon, \qquad \sigma = \|K v\|

    The gradient flows through σ, not through the unit vector v. The result, the mask, σ and a small matrix that depends
    on v alone are kept for the backward.

    Shapes: weight, mask and result as stored; vector of the operator.
    """
    with torch.no_grad(), full_precision(weight):
        probe = constants.probe(vector)
    return _Normalize.apply(weight, mask, probe, constants)[0]


def _gram_product(a: Tensor, b: Tensor) -> Tensor:
    """a aᵀ b of batches of matrices, in the cheaper order."""
    rows, inner, columns = a.shape[1], a.shape[2], b.shape[2]
    if rows * (inner + columns) < 2 * inner * columns:
        return (a @ a.mT) @ b
    return a @ (a.mT @ b)


class _Normalize(torch.autograd.Function):
    """Differentiable any number of times, as its backward consists of differentiable operations on what it keeps."""

    generate_vmap_rule = True

    @staticmethod
    def forward(weight: Tensor, mask: Tensor | None, probe: Tensor, constants: Normalization) -> tuple[Tensor, ...]:
        with full_precision(weight):
            masked = weight if mask is None else weight * mask
            by_group = masked.reshape(constants.groups, -1)
            limit, square = constants.max_norm, torch.linalg.vecdot(by_group, constants.slope(masked, probe))
            excess = square.clamp(min=limit**2).sqrt() / limit  # max(1, σ/c)
            divisor = excess + constants.margin
            return (by_group / divisor[:, None]).view(weight.shape), excess, divisor

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        _, mask, probe, ctx.constants = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(mask, probe, *output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor, None, None, None]:
        mask, probe, kernel, excess, divisor = ctx.saved_tensors
        of_kernel, of_excess, of_divisor, constants = *grads, ctx.constants
        with full_precision(kernel):
            # dK̄ = dK/d − K̄/d · de, and e de = P Pᵀ K dK / c² where e = σ/c > 1; a second derivative also reaches e
            grad = (torch.zeros_like(kernel) if of_kernel is None else of_kernel).reshape(constants.groups, -1)
            along = (grad[:, None] @ kernel.reshape(constants.groups, -1, 1)).flatten()  # as one operation
            for other in (of_excess, of_divisor):
                along = along if other is None else along - other * divisor
            along = torch.ops.aten.threshold_backward(along / excess, excess, 1)  # zero where e = 1
            slope, factor = constants.slope(kernel, probe), -1 / constants.max_norm**2
            of_weight = torch.addcmul(grad / divisor[:, None], along[:, None], slope, value=factor).view(kernel.shape)
            return of_weight if mask is None else of_weight * mask, None, None, None
