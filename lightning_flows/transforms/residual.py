"""Residual blocks with a contraction."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from lightning_flows.errors import UsageError, check_sizes
from lightning_flows.functional.fixed_point import InverseReport, attach_gradient
from lightning_flows.functional.precision import full_precision
from lightning_flows.functional.probes import fixed_probes
from lightning_flows.functional.solver import Solver
from lightning_flows.nets.linearization import Linearization, linearize
from lightning_flows.nets.spectral_norm import bind
from lightning_flows.transforms.base import Reported, Result, Transform, sum_event
from lightning_flows.transforms.traced_log_det import exact_log_det, num_random_terms, pullback, roulette_log_det

Function = Callable[[Tensor], Tensor]


class LogDetReport(NamedTuple):
    """Accuracy of an estimated log-determinant: ``num_terms`` of the series, and two errors ``(B,)`` in nats.

    ``error`` is the standard error over the probes; ``remainder`` bounds the rest of the series by 19 times its last
    term, which holds for a spectral radius of up to 0.95. All are zero for an exact log-determinant.

    >>> from lightning_flows.nets import LipschitzConvNet
    >>> block = ResidualBlock(LipschitzConvNet((3, 4, 4), 8), exact_dims=0).eval()
    >>> z, log_det, [report] = block.forward_reported(torch.randn(2, 3, 4, 4))
    >>> report.num_terms, report.error.shape, bool((report.remainder < 1e-3).all())
    (20, torch.Size([2]), True)
    """

    num_terms: int
    error: Tensor
    remainder: Tensor


class ResidualBlock(Transform):
    r"""Residual flow with a function g whose Lipschitz constant is below one.

    .. math:: z = x + g(x), \qquad \log|\det J| = \sum_{k \ge 1} \frac{(-1)^{k+1}}{k} \operatorname{tr} J_g^k

    Events of up to ``exact_dims`` values, in eval mode ``eval_exact_dims`` (default: the same), use the determinant of
    the full Jacobian, in float64: as many products with it as an event has values. Otherwise traces are estimated with
    random signs v, tr A = E[vᵀAv]. In train mode the series ends at random, and each term is weighted by the inverse of
    the probability of reaching it (Russian roulette), so that value and gradient are unbiased. In eval mode it
    has ``eval_terms`` terms and ``eval_probes`` fixed probes, set by ``probe_seed`` and the same for all items unless
    inside :func:`probes_by_item`, and the report is a :class:`LogDetReport`.

    The gradient of the estimate comes from the Neumann series of (I + J)⁻¹, which keeps the graph of a single product
    with the Jacobian for any number of terms; ``gradient="autograd"`` differentiates the series itself.

    The inverse iterates x ← z − g(x), see :func:`solve_residual`; its report is an :class:`InverseReport`. Parameters
    are evaluated once per call. Autocast is disabled: neither the series nor the iteration tolerates low precision.

    Shapes: x, z ``(B, *event)``. Raises: ConvergenceError if a sample needs more than ``max_iter`` iterations.
    Source: Chen et al., Residual Flows, 2019.

    >>> from lightning_flows.nets import LipschitzConvNet
    >>> block = ResidualBlock(LipschitzConvNet((3, 4, 4), 8)).eval()
    >>> x = torch.randn(2, 3, 4, 4)
    >>> z, log_det = block(x)
    >>> torch.allclose(block.inverse(z)[0], x, atol=1e-4), log_det.shape
    (True, torch.Size([2]))
    """

    differentiates = True

    def __init__(
        self,
        function: nn.Module,
        *,
        gradient: Literal["neumann", "autograd"] = "neumann",
        num_exact_terms: int = 2,
        stop_probability: float = 0.5,
        eval_terms: int = 20,
        eval_probes: int = 4,
        probe_seed: int = 0,
        exact_dims: int = 64,
        eval_exact_dims: int | None = None,
        max_iter: int = 1000,
    ) -> None:
        super().__init__()
        check_sizes(num_exact_terms=num_exact_terms, eval_terms=eval_terms, eval_probes=eval_probes, max_iter=max_iter)
        check_sizes(0, exact_dims=exact_dims, eval_exact_dims=eval_exact_dims or 0)
        if not 0 < stop_probability < 1:
            raise UsageError(f"expected stop_probability between 0 and 1; got {stop_probability}")
        self.function, self.gradient = function, gradient
        self.num_exact_terms, self.stop_probability = num_exact_terms, stop_probability
        self.eval_terms, self.eval_probes = eval_terms, eval_probes
        self.exact_dims, self.eval_exact_dims = exact_dims, exact_dims if eval_exact_dims is None else eval_exact_dims
        self.probe_seed, self.max_iter = probe_seed, max_iter

    def forward(self, x: Tensor, context: Any = None) -> Result:
        return self.forward_reported(x, context)[:2]

    def forward_reported(self, x: Tensor, context: Any = None) -> Reported:
        with full_precision(x), _differentiable():
            g, log_det, reports = self._evaluate(bind(self.function, update=True), x)
            return x + g, log_det, reports

    def inverse(self, z: Tensor, context: Any = None) -> Result:
        return self.inverse_reported(z, context)[:2]

    def inverse_reported(self, z: Tensor, context: Any = None) -> Reported:
        with full_precision(z), _differentiable():
            function = bind(self.function)
            x, report = self._solve(function, z, Solver())
            _, log_det, reports = self._evaluate(function, x)
            return x, -log_det, [report, *reports]

    def decode(self, z: Tensor, context: Any = None, solver: Solver | None = None) -> Tensor:
        with full_precision(z):
            return self._solve(bind(self.function), z, solver or Solver())[0]

    def _solve(self, function: Function, z: Tensor, solver: Solver) -> tuple[Tensor, InverseReport]:
        """Solve x + g(x) = z for x."""

        def residual_map(x: Tensor) -> tuple[Tensor, Tensor]:
            return function(x), torch.zeros_like(x)

        x, *_, report = solver.solve(residual_map, z.detach(), max_iter=self.max_iter, name="residual block")
        return attach_gradient(residual_map, x, z, max_iter=self.max_iter) if torch.is_grad_enabled() else x, report

    def _evaluate(self, function: Function, x: Tensor) -> tuple[Tensor, Tensor, list[NamedTuple]]:
        """Return g(x), log|det(I + J)| and its report, with a graph only if the caller needs one."""
        wanted = torch.is_grad_enabled()
        if torch.compiler.is_compiling() and (traced := self._traced(function, x)) is not None:
            return traced
        small = self._is_small(x)
        at = linearize(function, x, series=wanted and (small or self.gradient == "autograd"))
        log_det, reports = _exact_log_det(at, x) if small else self._estimate_log_det(at, x, wanted)
        return (at.value, log_det, reports) if wanted else (at.value.detach(), log_det.detach(), reports)

    def _traced(self, function: Function, x: Tensor) -> tuple[Tensor, Tensor, list[NamedTuple]] | None:
        """As :meth:`_evaluate`, for torch.compile; None for an estimate that it cannot trace."""
        g, pull = pullback(function, x)
        if self._is_small(x):
            zeros = x.new_zeros(x.shape[0])
            return g, exact_log_det(pull, x), [LogDetReport(0, zeros, zeros)]
        if not self.training or self.gradient == "autograd":
            return None
        num_exact, stop = self.num_exact_terms, self.stop_probability
        return g, roulette_log_det(function, x, _signs(x), num_exact=num_exact, stop=stop), []

    def _is_small(self, x: Tensor) -> bool:
        """Whether the full Jacobian is evaluated."""
        return math.prod(x.shape[1:]) <= (self.exact_dims if self.training else self.eval_exact_dims)

    def _estimate_log_det(self, at: Linearization, x: Tensor, wanted: bool) -> tuple[Tensor, list[NamedTuple]]:
        if self.training:
            estimate, _ = self._series(at, _signs(x), self._roulette(), wanted)
            return estimate, []
        probes, weights = fixed_probes(x, self.eval_probes, self.probe_seed), [1.0] * self.eval_terms
        series = [self._series(at, probe, weights, wanted) for probe in probes]
        estimates, last = (torch.stack(values) for values in zip(*series, strict=True))
        num, squares = len(probes), (estimates - estimates.mean(0)).detach().square().sum(0)
        error = (squares / (num * (num - 1))).sqrt() if num > 1 else torch.full_like(squares, math.nan)
        return estimates.mean(0), [LogDetReport(self.eval_terms, error, 19 * last.mean(0).abs())]

    def _roulette(self) -> list[float]:
        """Weights of the terms: 1 for those that are always computed, then 1/P(N ≥ n) with a geometric N ≥ 1."""
        p = self.stop_probability
        num_random: Any = num_random_terms(p).tolist()
        return [1.0] * self.num_exact_terms + [(1 - p) ** -n for n in range(num_random)]

    def _series(
        self, at: Linearization, probe: Tensor, weights: Sequence[float], wanted: bool
    ) -> tuple[Tensor, Tensor]:
        """Σₖ (−1)^{k+1} wₖ/k · vᵀJᵏv for one probe v, with a gradient if wanted; and the last term."""
        differentiate = wanted and self.gradient == "autograd"
        term, solution = probe, probe
        value = torch.zeros_like(sum_event(probe))
        for k, weight in enumerate(weights, start=1):
            term = at.pull(term)
            sign = 1 if k % 2 else -1
            last = sign * weight / k * sum_event(term * probe)
            value, solution = value + last, torch.sub(solution, term, alpha=sign * weight)
        if differentiate or not wanted:
            return value, last.detach()
        # the derivative of log det is tr((I + J)⁻¹ dJ) = E[ sᵀ dJ v ] with s = (I + Jᵀ)⁻¹ v, constant here
        surrogate = sum_event(at.product(solution, probe))
        return value + surrogate - surrogate.detach(), last.detach()

    def extra_repr(self) -> str:
        return f"gradient={self.gradient}, eval_terms={self.eval_terms}, eval_probes={self.eval_probes}"


def _exact_log_det(at: Linearization, x: Tensor) -> tuple[Tensor, list[NamedTuple]]:
    """log|det(I + J)| from the rows of J; its graph is that of the products ``at.pull``."""
    basis = torch.eye(math.prod(x.shape[1:]), dtype=x.dtype, device=x.device).reshape(-1, *x.shape[1:])
    rows = [at.pull(vector.expand_as(x)).flatten(1) for vector in basis]
    jacobian = torch.stack(rows, dim=1)
    identity, zeros = torch.eye(len(rows), dtype=torch.float64, device=x.device), x.new_zeros(x.shape[0])
    return torch.linalg.slogdet(identity + jacobian).logabsdet.to(x.dtype), [LogDetReport(0, zeros, zeros)]


@contextmanager
def _differentiable() -> Iterator[None]:
    """Leave inference mode, whose tensors have no derivatives, and keep the grad mode."""
    if torch.compiler.is_compiling():  # derivatives are traced
        yield
        return
    enabled = torch.is_grad_enabled()
    with torch.inference_mode(False), torch.set_grad_enabled(enabled):
        yield


def _signs(like: Tensor) -> Tensor:
    """Random signs of a tensor's shape, dtype and device."""
    return (2 * torch.randint(2, like.shape, device=like.device) - 1).to(like.dtype)
