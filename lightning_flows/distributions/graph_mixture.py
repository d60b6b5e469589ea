"""Graphs whose nodes are at the means of a mixture of Gaussians, in random order."""

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import torch
from torch import Tensor

from lightning_flows.errors import DataError, ShapeError
from lightning_flows.functional.permanent import MAX_COLUMNS, log_permanent
from lightning_flows.functional.streams import stream

PRESETS: dict[str, tuple[tuple[float, ...], float]] = {
    "mog4": ((-5, 5), 0.0),
    "mog9": ((-5, 5, 15), 0.0),
    "mog16": ((-5, 5, 15, 25), 0.0),
    "mog_ring": ((-5, 5), math.pi),
}
"""Coordinates of a square grid of means, and the largest angle."""

CHUNK = 2**20  # distances between nodes and means in memory at once, of 16 bytes each
MAX_ANGLES = 2048
WELL_SEPARATED = 8.0  # standard deviations
LOG_2PI = math.log(2 * math.pi)


class GraphMixture:
    r"""N nodes in the plane, each at a different mean with unit variance; the assignment is random.

    .. math:: p(X) = \frac{(M-N)!}{M!} \sum_\pi \prod_{i=1}^N \mathcal N(x_i; \mu_{\pi(i)}, I)
              = \frac{(M-N)!}{M!} \operatorname{perm} P, \qquad P_{ij} = \mathcal N(x_i; \mu_j, I)

    over all injective π: a graph with fewer nodes than means has a random subset of them. With ``max_angle`` all means
    are rotated about the origin by one angle, uniform in [0, max_angle), over which the density is averaged by
    Gauss-Legendre quadrature, with more nodes the farther the means are from the origin. Computed in float64.

    Args:
        means: M points in the plane, ``(M, 2)``, M ≤ 20, in standard deviations of a node.
        max_angle: largest angle in radians.

    Raises: ShapeError if the means are not (M, 2) or too many; DataError if a value is not finite or the angle is
    negative.
    Source: section 6.3 of the paper; the exact density is ours.

    >>> GraphMixture([[0, 0]]).log_prob(torch.zeros(1, 1, 2)).item() == -LOG_2PI
    True
    """

    def __init__(self, means: Sequence[Sequence[float]], *, max_angle: float = 0.0) -> None:
        try:
            self.means = torch.tensor(means, dtype=torch.float64)
        except (TypeError, ValueError) as error:
            raise ShapeError(f"expected means as a list of [x, y], all numbers; got {means}") from error
        if self.means.ndim != 2 or self.means.shape[1] != 2 or not 1 <= len(self.means) <= MAX_COLUMNS:
            raise ShapeError(
                f"expected means of shape (M, 2) with 1 <= M <= {MAX_COLUMNS}; got {tuple(self.means.shape)}"
            )
        if not self.means.isfinite().all():
            raise DataError(f"expected finite means; got {means}")
        if not 0 <= max_angle < math.inf:
            raise DataError(f"expected a max_angle of at least 0 radians; got {max_angle}")
        self.max_angle = float(max_angle)
        self.angles, self.log_weights = self._quadrature()

    @property
    def num_means(self) -> int:
        """Number of means, M."""
        return len(self.means)

    @property
    def min_distance(self) -> float:
        """Smallest distance between two means; infinite for a single mean."""
        return torch.pdist(self.means).min().item() if self.num_means > 1 else math.inf

    def sample(self, num: int, *, num_nodes: int | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``(num, N, 2)`` in float32; N is ``num_nodes``, by default M. Raises: ShapeError unless 1 ≤ N ≤ M."""
        num_nodes = self.num_means if num_nodes is None else num_nodes
        self._check_num_nodes(num_nodes)
        order = torch.rand(num, self.num_means, dtype=torch.float64, generator=generator).argsort(1)[:, :num_nodes]
        angle = self.max_angle * torch.rand(num, 1, dtype=torch.float64, generator=generator)
        noise = torch.randn(num, num_nodes, 2, dtype=torch.float64, generator=generator)
        return (_rotate(self.means[order], angle) + noise).float()

    def log_prob(self, x: Tensor) -> Tensor:
        """Exact log-density ``(B,)``, in nats and float64, of graphs ``(B, N, 2)`` given their size.

        Raises: ShapeError unless 1 ≤ N ≤ M.
        """
        return torch.cat([self._joint(chunk).logsumexp(1) for chunk in self._chunks(x)])

    def is_valid(self, x: Tensor) -> Tensor:
        """Whether each node is near a different mean: ``(B, N, 2) -> (B,)`` bool.

        Near means within half of the smallest distance between two means, for one of the angles of the quadrature.
        Raises: ShapeError unless 1 ≤ N ≤ M.
        """
        return torch.cat([self._at_different_means(chunk).any(1) for chunk in self._chunks(x)])

    def entropy_per_node(self, *, num_samples: int = 4096, seed: int = 0) -> tuple[float, float]:
        r"""Entropy of graphs of M nodes in nats per node, and its standard error.

        .. math:: \frac{H(X)}{M} = 1 + \log 2\pi + \frac{I(X; \pi \mid \text{angle}) + I(X; \text{angle})}{M}

        For means at least 8 standard deviations apart, graph and angle determine the order: the first information is
        log M! to 1e-6. Otherwise it is the average over ``num_samples`` graphs of log p(X | π) − log p(X), both at one
        angle. I(X; angle) is the average over graphs of the divergence of the angle's posterior from its prior.
        """
        generator = stream(seed, "entropy")
        information, variance = math.lgamma(self.num_means + 1), 0.0
        if self.min_distance < WELL_SEPARATED:
            noise, at_rest = self._noise(num_samples, generator), GraphMixture(self.means.tolist())
            given_order = -0.5 * noise.square().sum((1, 2)) - self.num_means * LOG_2PI
            gained = given_order - at_rest.log_prob(self.means + noise)
            information, variance = gained.mean().item(), gained.var().item() / num_samples
        if self.max_angle > 0:
            angle = self.max_angle * torch.rand(num_samples, 1, dtype=torch.float64, generator=generator)
            graphs = _rotate(self.means, angle) + self._noise(num_samples, generator)
            log_posteriors = [self._joint(chunk).log_softmax(1) for chunk in self._chunks(graphs)]
            gained = torch.cat([(post.exp() * (post - self.log_weights)).sum(1) for post in log_posteriors])
            information += gained.mean().item()
            variance += gained.var().item() / num_samples
        return 1 + LOG_2PI + information / self.num_means, math.sqrt(variance) / self.num_means

    def _noise(self, num: int, generator: torch.Generator) -> Tensor:
        return torch.randn(num, self.num_means, 2, dtype=torch.float64, generator=generator)

    def _chunks(self, x: Tensor) -> tuple[Tensor, ...]:
        if x.ndim != 3 or x.shape[2] != 2:
            raise ShapeError(f"expected graphs of shape (B, N, 2); got {tuple(x.shape)}")
        self._check_num_nodes(x.shape[1])
        return x.split(max(1, CHUNK // (len(self.angles) * x.shape[1] * self.num_means)))

    def _joint(self, x: Tensor) -> Tensor:
        """Log-density of a graph at each angle of the quadrature, plus that angle's log-weight: ``(B, K)``."""
        num_nodes, num_means = x.shape[1], self.num_means
        log_normal = -0.5 * self._squared_distances(x) - LOG_2PI
        log_order = math.lgamma(num_means + 1) - math.lgamma(num_means - num_nodes + 1)
        log_prob = log_permanent(log_normal.flatten(0, 1)) - log_order
        return log_prob.unflatten(0, log_normal.shape[:2]) + self.log_weights.to(x.device)

    def _at_different_means(self, x: Tensor) -> Tensor:
        near = self._squared_distances(x) < (self.min_distance / 2) ** 2  # (B, K, N, M); at most one mean per node
        return near.any(3).all(2) & (near.sum(2) <= 1).all(2)

    def _squared_distances(self, x: Tensor) -> Tensor:
        """Squared distances ``(B, K, N, M)`` of nodes ``(B, N, 2)``, rotated back by K angles, to the means."""
        rotated = _rotate(x.double().unsqueeze(1), -self.angles.to(x.device).unsqueeze(1))
        return (rotated.unsqueeze(3) - self.means.to(x.device)).square().sum(-1)

    def _quadrature(self) -> tuple[Tensor, Tensor]:
        """Angles ``(K,)`` and the logs of their weights, which sum to 1."""
        if self.max_angle == 0:
            return torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
        # A graph of these means determines its angle to 1 / ‖means‖; the angles are π/2 times closer at the ends.
        num = max(256, math.ceil(1.5 * math.pi * self.max_angle * self.means.norm().item()))
        if num > MAX_ANGLES:
            raise DataError(
                f"expected means that need at most {MAX_ANGLES} quadrature nodes; max_angle {self.max_angle:g} "
                f"needs {num}: move the means closer to the origin or reduce the angle"
            )
        nodes, weights = np.polynomial.legendre.leggauss(num)
        return self.max_angle * torch.from_numpy(nodes + 1) / 2, torch.from_numpy(weights / 2).log()

    def _check_num_nodes(self, num_nodes: int) -> None:
        if not 1 <= num_nodes <= self.num_means:
            raise ShapeError(f"expected 1 to {self.num_means} nodes, the number of means; got {num_nodes}")


def graph_mixture(name: str) -> GraphMixture:
    """Return one of the paper's mixtures: mog4, mog9, mog16 (square grids, 10 apart) or mog_ring (mog4, rotated).

    Raises: DataError for another name.

    >>> graph_mixture("mog4").means.tolist()
    [[-5.0, -5.0], [-5.0, 5.0], [5.0, -5.0], [5.0, 5.0]]
    """
    if name not in PRESETS:
        raise DataError(
            f"expected a mixture among {', '.join(PRESETS)}; got {name!r}: choose one, or pass your own means"
        )
    coordinates, max_angle = PRESETS[name]
    return GraphMixture([list(mean) for mean in product(coordinates, repeat=2)], max_angle=max_angle)


def _rotate(points: Tensor, angle: Tensor) -> Tensor:
    """Rotate points ``(..., N, 2)`` about the origin by ``angle`` radians ``(..., 1)``."""
    x, y = points.unbind(-1)
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos * x - sin * y, sin * x + cos * y], -1)
