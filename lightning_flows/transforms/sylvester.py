"""Generalized Sylvester flows and the Convolutional Sylvester Flow."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lightning_flows.errors import ConvergenceError
from lightning_flows.functional.precision import full_precision
from lightning_flows.nets.masked_conv import AutoregressiveConvNet
from lightning_flows.nets.spectral_norm import frozen_power_iteration
from lightning_flows.transforms.base import Transform, sum_event
from lightning_flows.transforms.conv_exponential import ConvExponential
from lightning_flows.transforms.householder import Householder
from lightning_flows.transforms.linear import LinearCompose, LinearTransform

PATIENCE = 5
"""Iterations without a smaller residual after which a sample has come as far as round-off allows."""


class SylvesterFunction(nn.Module):
    r"""The autoregressive function of section 4.1 and the diagonal of its Jacobian.

    .. math:: f(y) = \gamma\, s_2 \tanh(y\, s_1 + t_1) + t_2, \qquad
              \partial f_i/\partial y_i = \gamma\, s_2 s_1 (1 - \tanh^2(y\, s_1 + t_1)) \in (-\gamma, \gamma)

    t₁, t₂ and the arguments a₁, a₂ of s = tanh(a) are strictly autoregressive functions of y: ``net(y)`` returns the
    four tensors (t₁, a₁, t₂, a₂), each of y's shape.
    """

    def __init__(self, net: nn.Module, *, gamma: float = 0.5) -> None:
        super().__init__()
        if not 0 < gamma < 1:
            raise ValueError(f"expected gamma between 0 and 1; got {gamma}")
        self.net, self.gamma = net, gamma

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """f(y) and its Jacobian's diagonal, both of y's shape."""
        t1, a1, t2, a2 = self.net(y)
        s1, s2 = torch.tanh(a1), self.gamma * torch.tanh(a2)
        h = torch.tanh(y * s1 + t1)
        return s2 * h + t2, s2 * s1 * (1 - h * h)


class InverseReport(NamedTuple):
    """What the last inverse took, per sample: ``iterations (B,)`` and the ``residual (B,)`` that was reached."""

    iterations: Tensor
    residual: Tensor


class GeneralizedSylvester(Transform):
    r"""Residual flow in a changed basis, with an autoregressive function.

    .. math:: z = x + W^{-1} f(Wx), \qquad \log|\det J| = \sum_i \log(1 + \partial f_i/\partial y_i), \quad y = Wx

    ``basis`` is any invertible linear W; ``function`` returns f(y) and its Jacobian's diagonal, which must lie
    above −1, for a triangular Jacobian in some order of the dimensions.

    The inverse solves y + f(y) = Wz by Newton steps on the diagonal, each sample until its residual is at most
    ``tol`` relative to its largest value; by default, as far as round-off allows, which must be at least 1000 units of
    round-off. ``report`` holds iterations and residual of the last inverse. The inverse is differentiable: its
    gradient solves the transposed triangular system.

    Shapes: x, z ``(B, *event)``; log_det ``(B,)`` in nats.
    Raises: ConvergenceError if a sample needs more than ``max_iter`` iterations. Source: section 4, theorem 2.
    """

    def __init__(
        self, basis: LinearTransform, function: nn.Module, *, tol: float | None = None, max_iter: int = 200
    ) -> None:
        super().__init__()
        if not isinstance(basis, LinearTransform):
            raise TypeError(f"expected a LinearTransform as basis; got {type(basis).__name__}")
        self.basis, self.function = basis, function
        self.tol, self.max_iter = tol, max_iter
        self.report: InverseReport | None = None

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x + W⁻¹ f(Wx)."""
        self.basis._check(x)
        with full_precision(x):
            basis = self.basis.operator()
            y = basis.matmul(x)
        f, diagonal = self.function(y)
        with full_precision(x):
            return x + basis.solve(f), sum_event(torch.log1p(diagonal))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z − W⁻¹ f(y), with y from y + f(y) = Wz."""
        self.basis._check(z)
        with frozen_power_iteration():
            with full_precision(z):
                basis = self.basis.operator()
                v = basis.matmul(z)
            y = self._solve(v.detach())
            if torch.is_grad_enabled():
                y = self._attach_gradient(y, v)
            f, diagonal = self.function(y)
            with full_precision(z):
                return z - basis.solve(f), -sum_event(torch.log1p(diagonal))

    @torch.no_grad()
    def _solve(self, v: Tensor) -> Tensor:
        """Fixed point of y ← y − (y + f(y) − v)/(1 + f′(y)); samples that are done leave the batch."""
        eps = torch.finfo(v.dtype).eps
        target, limit = (2 * eps, 1000 * eps) if self.tol is None else (self.tol, self.tol)
        scale = v.abs().flatten(1).amax(1).clamp(min=1)
        y, best, residual = v.clone(), v.clone(), torch.full_like(scale, torch.inf)
        iterations, stalled = torch.zeros_like(scale, dtype=torch.long), torch.zeros_like(scale, dtype=torch.long)
        active = torch.arange(v.shape[0], device=v.device)
        for step in range(self.max_iter + 1):
            current = y[active]
            f, diagonal = self.function(current)
            error = current + f - v[active]
            now = error.abs().flatten(1).amax(1) / scale[active]
            better = now < residual[active]
            residual[active[better]], best[active[better]] = now[better], current[better]
            stalled[active] = torch.where(better, 0, stalled[active] + 1)
            # round-off lets a residual stall above the target, the more so the steeper f; NaN counts as not converged
            reached = residual[active]
            left = ~((reached <= target) | ((reached <= limit) & (stalled[active] > PATIENCE)))
            active = active[left]
            if active.numel() == 0 or step == self.max_iter:
                break
            y[active] = (current - error / (1 + diagonal))[left]
            iterations[active] += 1
        self.report = InverseReport(iterations, residual)
        if active.numel():
            worst = residual.max().item()
            raise ConvergenceError(
                f"the inverse of a Sylvester layer expected a residual of at most {limit:.1e} within {self.max_iter} "
                f"iterations; got {worst:.1e} for {active.numel()} of {v.shape[0]} samples: "
                "raise max_iter or tol, or decode in float64",
                residual=worst,
            )
        return best

    def _attach_gradient(self, y: Tensor, v: Tensor) -> Tensor:
        r"""Give the solution its derivative: a gradient g of y becomes λ with :math:`(I + J_f^T)λ = g`."""
        point = y.detach().requires_grad_()
        with torch.enable_grad():
            f, diagonal = self.function(point)
        one_step = v - self.function(y.detach())[0]

        def solve_transposed(grad: Tensor) -> Tensor:
            solution = grad / (1 + diagonal.detach())
            for _ in range(self.max_iter):
                (pulled,) = torch.autograd.grad(f, point, solution, retain_graph=True)
                error = solution + pulled - grad
                if error.abs().max() <= 8 * torch.finfo(grad.dtype).eps * grad.abs().max():
                    return solution
                solution = solution - error / (1 + diagonal.detach())
            raise ConvergenceError("the gradient of a Sylvester inverse did not converge", error.abs().max().item())

        if one_step.requires_grad:
            one_step.register_hook(solve_transposed)
        return one_step


class ConvSylvester(GeneralizedSylvester):
    r"""One layer of the Convolutional Sylvester Flow: the generalized Sylvester flow with W = exp(M) Q.

    .. math:: z = x + Q^T\big((-m) \star_e f(m \star_e Qx)\big)

    M is a convolution whose norm is at most ``exponential_coefficient``, Q a product of C Householder reflections over
    the channels, f the function of section 4.1 on masked convolutions of ``hidden_channels``, each normalised to
    ``net_coefficient``. Shapes: x, z ``(B, *event_shape)`` with event_shape (C, H, W). Source: section 4.2.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        hidden_channels: int,
        *,
        exponential_coefficient: float = 0.95,
        net_coefficient: float | None = 1.5,
        gamma: float = 0.5,
        tol: float | None = None,
        max_iter: int = 200,
    ) -> None:
        basis = LinearCompose(
            [Householder(event_shape[0]), ConvExponential(event_shape, coefficient=exponential_coefficient)]
        )
        net = AutoregressiveConvNet(event_shape, hidden_channels, coefficient=net_coefficient)
        super().__init__(basis, SylvesterFunction(net, gamma=gamma), tol=tol, max_iter=max_iter)
