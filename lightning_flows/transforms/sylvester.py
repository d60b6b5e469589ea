"""Generalized Sylvester flows."""

from typing import Any

import torch
from torch import Tensor, nn

from lightning_flows.functional.fixed_point import Solution, attach_gradient, solve_residual
from lightning_flows.functional.precision import full_precision
from lightning_flows.nets.spectral_norm import bind
from lightning_flows.transforms.base import Reported, Result, Transform, sum_event
from lightning_flows.transforms.linear import LinearTransform


class GeneralizedSylvester(Transform):
    r"""Residual flow with an autoregressive function in another basis.

    .. math:: z = x + W^{-1} f(Wx), \qquad \log|\det J| = \sum_i \log(1 + \partial f_i/\partial y_i), \quad y = Wx

    ``basis`` is any invertible linear W; ``function`` returns f(y) and its Jacobian's diagonal, which must be above −1,
    for a triangular Jacobian in some order of the dimensions. Parameters are evaluated once per call.

    The inverse solves y + f(y) = Wz by Newton steps on the diagonal, see :func:`solve_residual`; its report is an
    :class:`InverseReport`. It is differentiable: its gradient solves the transposed triangular system.

    Raises: TypeError if ``basis`` is not linear; ConvergenceError if a sample needs more than ``max_iter`` iterations.
    Source: section 4, theorem 2.
    """

    def __init__(
        self, basis: LinearTransform, function: nn.Module, *, tol: float | None = None, max_iter: int = 200
    ) -> None:
        if not isinstance(basis, LinearTransform):
            raise TypeError(f"expected a LinearTransform as basis; got {type(basis).__name__}")
        super().__init__(basis.event_shape)
        self.basis, self.function = basis, function
        self.tol, self.max_iter = tol, max_iter

    def forward(self, x: Tensor, context: Any = None) -> Result:
        with full_precision(x):
            basis = self.basis.operator(update=True)
            y = basis.matmul(x)
        f, diagonal = bind(self.function, update=True)(y)
        with full_precision(x):
            return x + basis.solve(f), sum_event((1 + diagonal).log())

    def inverse(self, z: Tensor, context: Any = None) -> Result:
        return self.inverse_reported(z, context)[:2]

    def decode(self, z: Tensor, context: Any = None) -> Tensor:
        return self._solve(z)[0]

    def inverse_reported(self, z: Tensor, context: Any = None) -> Reported:
        x, solution = self._solve(z)
        with full_precision(z):
            return x, -sum_event((1 + solution.diagonal).log()), [solution.report]

    def _solve(self, z: Tensor) -> tuple[Tensor, Solution]:
        """z − W⁻¹ f(y), with y from y + f(y) = Wz."""
        with full_precision(z):
            basis = self.basis.operator()
            v = basis.matmul(z)
        function = bind(self.function)
        solution = solve_residual(function, v.detach(), tol=self.tol, max_iter=self.max_iter, name="Sylvester layer")
        if torch.is_grad_enabled():
            y = attach_gradient(function, solution.y, v, max_iter=self.max_iter)
            f, diagonal = function(y)
            solution = Solution(y, f, diagonal, solution.report)
        with full_precision(z):
            return z - basis.solve(solution.f), solution

    def extra_repr(self) -> str:
        return f"tol={self.tol}, max_iter={self.max_iter}"
