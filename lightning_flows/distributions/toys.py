"""Toy densities in the plane, on which flows are compared."""

import math
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from lightning_flows.distributions.curves import Curve
from lightning_flows.distributions.planar import LOG_2PI, Mixture, PlanarDensity, check_noise, on_circle
from lightning_flows.errors import DataError


class EightGaussians(Mixture):
    """Eight Gaussians on a circle of radius 4."""

    def __init__(self, noise: float = 0.5) -> None:
        angles = math.pi / 4 * torch.arange(8, dtype=torch.float64)
        super().__init__(4 * on_circle(angles), torch.full((8,), 1 / 8, dtype=torch.float64), noise)


class Checkerboard(PlanarDensity):
    """Uniform on eight squares of side 2, as on a board of 4x4 squares centered at the origin. The entropy is log 32.

    The density is 0 elsewhere, its logarithm −∞.
    """

    def __init__(self) -> None:
        super().__init__(1.0, 4.0)

    def sample(self, num: int, *, generator: torch.Generator | None = None) -> Tensor:
        inside = (torch.randint(2**20, (num, 2), generator=generator).float() + 0.5) / 2**19  # exact in float32
        row, column = torch.randint(4, (num,), generator=generator), torch.randint(2, (num,), generator=generator)
        return inside + 2 * torch.stack([2 * column + row % 2, row], 1) - 4

    @cached_property
    def entropy(self) -> float:
        return math.log(32)

    def _log_prob(self, x: Tensor) -> Tensor:
        inside = (x.abs() < 4).all(1) & ((x / 2).floor().sum(1) % 2 == 0)
        return (inside / 32).double().log()

    def _on_grid(self, line: Tensor) -> Tensor:
        return self._log_prob(torch.cartesian_prod(line, line)).exp().view(len(line), -1)


class Moons(Curve):
    """Two interleaved half circles, as in scikit-learn's ``make_moons``."""

    def __init__(self, noise: float = 0.1) -> None:
        super().__init__((0.5, 0.5), speed=math.pi, noise=noise)

    def curve(self, arm: Tensor, s: Tensor) -> Tensor:
        upper = on_circle(math.pi * s)
        return torch.where(arm[:, None] == 0, upper, torch.tensor([1.0, 0.5], dtype=s.dtype) - upper)


class Rings(Curve):
    """Circles of radius 1, 2 and 3, with points in proportion to their lengths."""

    def __init__(self, noise: float = 0.1) -> None:
        super().__init__((1 / 6, 2 / 6, 3 / 6), speed=6 * math.pi, noise=noise)

    def curve(self, arm: Tensor, s: Tensor) -> Tensor:
        return (1 + arm)[:, None] * on_circle(2 * math.pi * s)


class Spirals(Curve):
    """Two spirals that start at the origin and make one and a half turns, to a radius of π."""

    def __init__(self, noise: float = 0.1) -> None:
        super().__init__((0.5, 0.5), speed=math.pi * math.hypot(1, 3 * math.pi), noise=noise, power=2)

    def curve(self, arm: Tensor, s: Tensor) -> Tensor:
        return (1 - 2 * arm)[:, None] * (math.pi * s)[:, None] * on_circle(3 * math.pi * s)


class Pinwheel(PlanarDensity):
    r"""Five petals, Gaussians that are long in the radial direction, twisted by an angle that grows with the radius.

    .. math:: x = R\big(\tfrac{2\pi k}{5} + \tfrac14 e^{\|v\|/2}\big)\,v,
              \qquad v \sim \mathcal N\big((2, 0), \operatorname{diag}(0.6, \sigma)^2\big)

    R rotates by an angle in radians, k is one of 0 to 4. As the angle depends on the radius \|v\| = \|x\| alone, the
    twist preserves areas, and therefore densities and the entropy, and is inverted in closed form.

    Args:
        noise: standard deviation σ across a petal, from 0.03 to 1.
    """

    def __init__(self, noise: float = 0.2) -> None:
        check_noise(noise)
        super().__init__(min(noise, 0.6), 6.5)
        self.noise = noise

    def sample(self, num: int, *, generator: torch.Generator | None = None) -> Tensor:
        angle = 2 * math.pi / 5 * torch.randint(5, (num,), generator=generator)
        normal = torch.randn(num, 2, dtype=torch.float64, generator=generator)
        v = torch.stack([2 + 0.6 * normal[:, 0], self.noise * normal[:, 1]], 1)
        return _rotate(v, angle + _twist(v)).float()

    def _log_prob(self, x: Tensor) -> Tensor:
        return self._untwisted_log_prob(_rotate(x, -_twist(x)))

    def _on_grid(self, line: Tensor) -> Tensor:
        return self._untwisted_log_prob(torch.cartesian_prod(line, line)).exp().view(len(line), -1)

    def _untwisted_log_prob(self, x: Tensor) -> Tensor:
        v = _rotate(x[:, None], -2 * math.pi / 5 * torch.arange(5, dtype=torch.float64))
        squares = ((v[..., 0] - 2) / 0.6).square() + (v[..., 1] / self.noise).square()
        return (-0.5 * squares).logsumexp(1) - math.log(5) - LOG_2PI - math.log(0.6 * self.noise)


TOYS: dict[str, Callable[..., PlanarDensity]] = {
    "moons": Moons,
    "checkerboard": Checkerboard,
    "rings": Rings,
    "spirals": Spirals,
    "pinwheel": Pinwheel,
    "eight_gaussians": EightGaussians,
}


def toy(name: str, noise: float | None = None) -> PlanarDensity:
    """Return the density of a name, with its default noise or another. Raises: DataError.

    >>> toy("checkerboard").log_prob(torch.tensor([[1.0, 1.0]])).exp()
    tensor([0.0312], dtype=torch.float64)
    """
    if name not in TOYS:
        raise DataError(f"expected a toy among {', '.join(TOYS)}; got {name!r}")
    if noise is None:
        return TOYS[name]()
    if name == "checkerboard":
        raise DataError(f"expected no noise for the checkerboard, which is uniform; got {noise}")
    return TOYS[name](noise)


def _twist(v: Tensor) -> Tensor:
    return (v.norm(dim=-1) / 2).exp() / 4


def _rotate(v: Tensor, angle: Tensor) -> Tensor:
    x, y, cos, sin = *v.unbind(-1), angle.cos(), angle.sin()
    return torch.stack([cos * x - sin * y, sin * x + cos * y], -1)
