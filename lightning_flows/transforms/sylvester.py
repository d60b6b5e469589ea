"""Generalized Sylvester flows."""

from typing import Any

import torch
from torch import Tensor, nn

from lightning_flows.errors import check_sizes
from lightning_flows.functional.fixed_point import Solution, attach_gradient
from lightning_flows.functional.precision import full_precision, is_autocast, is_reduced
from lightning_flows.functional.solver import Solver
from lightning_flows.nets.spectral_norm import bind
from lightning_flows.nets.values import split_context
from lightning_flows.transforms.base import Reported, Result, Transform, sum_event
from lightning_flows.transforms.linear import Basis


class GeneralizedSylvester(Transform):
    r"""Residual flow with an autoregressive function in another basis.

    .. math:: z = x + W^{-1} f(Wx), \qquad \log|\det J| = \sum_i \log(1 + \partial f_i/\partial y_i), \quad y = Wx

    ``basis`` is any invertible linear W, or another :class:`Basis`; ``function`` returns f(y) and its Jacobian's
    diagonal, which must be above −1, for a triangular Jacobian in some order of the dimensions. Parameters are
    evaluated once per call.

    The inverse solves y + f(y) = Wz by Newton steps on the diagonal, see :func:`solve_residual`, or by a direct
    solver if ``function.bind_with_solver()`` returns one: on a CPU in full precision or, if ``function.needs_solver``,
    anywhere. Its report is an :class:`InverseReport`. The inverse is differentiable: its gradient solves the transposed
    triangular system.

    The context ``(B, n)`` of the layer is that of the function, followed by that of the basis, each of the length that
    its ``num_parameters`` states. Where both are 0, the context is ignored.

    Raises: TypeError if ``basis`` is not linear; ConvergenceError if a sample needs more than ``max_iter`` iterations.
    Source: section 4, theorem 2.

    >>> from lightning_flows.nets import MADE, SylvesterFunction
    >>> from lightning_flows.transforms import VectorHouseholder
    >>> layer = GeneralizedSylvester(VectorHouseholder(3), SylvesterFunction(MADE(3, 8, num_outputs=4)))
    >>> x = torch.randn(1, 3)
    >>> jacobian = torch.autograd.functional.jacobian(lambda x: layer(x)[0].sum(0), x)[:, 0]
    >>> torch.allclose(layer(x)[1], jacobian.slogdet().logabsdet, atol=1e-4)
    True
    """

    def __init__(self, basis: Basis, function: nn.Module, *, max_iter: int = 200) -> None:
        if not isinstance(basis, Basis):
            raise TypeError(f"expected a LinearTransform as basis; got {type(basis).__name__}")
        super().__init__(basis.event_shape)
        self.basis, self.function = basis, function
        check_sizes(max_iter=max_iter)
        self.max_iter = max_iter
        self.sizes = [int(getattr(function, "num_parameters", 0)), basis.num_parameters]
        self.num_parameters = sum(self.sizes)

    def forward(self, x: Tensor, context: Any = None) -> Result:
        of_function, of_basis = self._split(context)
        with full_precision(x):
            basis = self.basis.operator_for(of_basis, update=True)
            y = basis.matmul(x)
        f, diagonal = bind(self.function, update=True)(y, *of_function)
        with full_precision(x):
            return x + basis.solve(f), sum_event((1 + diagonal).log())

    def inverse(self, z: Tensor, context: Any = None) -> Result:
        return self.inverse_reported(z, context)[:2]

    def decode(self, z: Tensor, context: Any = None, solver: Solver | None = None) -> Tensor:
        return self._solve(z, context, solver or Solver())[0]

    def inverse_reported(self, z: Tensor, context: Any = None) -> Reported:
        x, solution = self._solve(z, context, Solver())
        with full_precision(z):
            return x, -sum_event((1 + solution.diagonal).log()), [solution.report]

    def _split(self, context: Any) -> tuple[list[Tensor], Tensor | None]:
        """The context of the function, empty if it takes none, and that of the basis."""
        of_function, of_basis = split_context(context, self.sizes)
        return [] if of_function is None else [of_function], of_basis

    def _solve(self, z: Tensor, context: Any, solver: Solver) -> tuple[Tensor, Solution]:
        """z − W⁻¹ f(y), with y from y + f(y) = Wz."""
        of_function, of_basis = self._split(context)
        with full_precision(z):
            basis = self.basis.operator_for(of_basis)
            v = basis.matmul(z)
        # most direct solvers pay off on a CPU only, and do not round as autocast and reduced modes do
        full = v.is_cpu and not is_autocast("cpu") and not is_reduced("cpu")
        pays = full or getattr(self.function, "needs_solver", False)
        solvable = pays and hasattr(self.function, "bind_with_solver")
        function, direct = self.function.bind_with_solver() if solvable else (bind(self.function), None)
        solution = solver.solve(
            function, v.detach(), max_iter=self.max_iter, name="Sylvester layer", direct=direct, context=of_function
        )
        if torch.is_grad_enabled():
            y = attach_gradient(lambda y: function(y, *of_function), solution.y, v, max_iter=self.max_iter)
            f, diagonal = function(y, *of_function)
            solution = Solution(y, f, diagonal, solution.report)
        with full_precision(z):
            return z - basis.solve(solution.f), solution

    def extra_repr(self) -> str:
        return f"max_iter={self.max_iter}"
