"""Generalized Sylvester flows and the Convolutional Sylvester Flow."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_flows.errors import UsageError
from lightning_flows.functional.precision import full_precision
from lightning_flows.nets.masked_conv import AutoregressiveConvNet
from lightning_flows.nets.spectral_norm import frozen_power_iteration
from lightning_flows.transforms.base import Transform, sum_event
from lightning_flows.transforms.fixed_point import InverseReport, attach_gradient, check_converged, solve_residual
from lightning_flows.transforms.image.conv_exponential import ConvExponential
from lightning_flows.transforms.image.householder import Householder
from lightning_flows.transforms.linear import LinearCompose, LinearTransform


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
            raise UsageError(f"expected gamma between 0 and 1; got {gamma}")
        self.net, self.gamma = net, gamma

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """f(y) and its Jacobian's diagonal, both of y's shape."""
        t1, a1, t2, a2 = self.net(y)
        s1, s2 = torch.tanh(a1), self.gamma * torch.tanh(a2)
        h = torch.tanh(y * s1 + t1)
        return s2 * h + t2, s2 * s1 * (1 - h * h)


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
            y, self.report, left = solve_residual(self.function, v.detach(), tol=self.tol, max_iter=self.max_iter)
            check_converged(self.report, left, "Sylvester layer")
            if torch.is_grad_enabled():
                y = attach_gradient(self.function, y, v, max_iter=self.max_iter)
            f, diagonal = self.function(y)
            with full_precision(z):
                return z - basis.solve(f), -sum_event(torch.log1p(diagonal))


class ConvSylvester(GeneralizedSylvester):
    r"""One layer of the Convolutional Sylvester Flow: the generalized Sylvester flow with W = exp(M) Q.

    .. math:: z = x + Q^T\big((-m) \star_e f(m \star_e Qx)\big)

    M is a convolution whose norm is at most ``exponential_coefficient``, Q a product of C Householder reflections over
    the channels, f the function of section 4.1 on masked convolutions of ``hidden_channels``, each normalized to
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
