"""Importance-weighted likelihoods."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_flows.errors import UsageError, check_positive, check_sizes
from lightning_flows.functional.philox import Streams, streams

ROUND = 64
"""Draws per image between checks of the standard error."""


class LikelihoodEstimate(NamedTuple):
    r"""Estimates from K draws per image, each ``(B,)``, in nats and float64.

    With importance weights :math:`w_k`, such as :math:`p(x + u_k)/q(u_k \mid x)` for noise u, or
    :math:`p(x, z_k)/q(z_k \mid x)` for latents z:

    Args:
        bound: mean of log w, an estimate of the evidence lower bound.
        log_likelihood: log of the mean of w; at least ``bound``, and in expectation at most log P(x).
        error: standard error of ``log_likelihood`` from the draws, by the delta method; infinite for a single draw. It
            is too small if a few draws dominate.
        num_draws: K.
        means: averages over the draws of further values that come with the weights, such as a term of log w.

    >>> weigh = lambda images, draws: [torch.where(draws % 2 == 0, 0.0, -1.0)]  # log w
    >>> estimate = importance_weights(weigh, 1, 4, chunk_size=4, device=torch.device("cpu"))
    >>> estimate.bound, estimate.log_likelihood, estimate.num_draws
    (tensor([-0.5000], dtype=torch.float64), tensor([-0.3799], dtype=torch.float64), tensor([4]))
    """

    bound: Tensor
    log_likelihood: Tensor
    error: Tensor
    num_draws: Tensor
    means: tuple[Tensor, ...]


def stream_per_image(noise: Streams | None, num: int, device: torch.device) -> Streams:
    """Return streams of noise for ``num`` images, random ones if None. Raises: UsageError for another number.

    >>> stream_per_image(None, 3, torch.device("cpu")).normal((2,)).shape
    torch.Size([3, 2])
    """
    if noise is None:
        noise = streams(int(torch.randint(2**62, ())), "importance samples", range(num), device=device)
    if noise.size != num:
        raise UsageError(f"expected one stream per image; got {noise.size} for {num}")
    return noise


def importance_weights(
    weigh: Callable[[Tensor, Tensor], Sequence[Tensor]],
    num: int,
    num_draws: int,
    *,
    chunk_size: int,
    device: torch.device,
    target_error: float | None = None,
) -> LikelihoodEstimate:
    r"""Draw ``num_draws`` importance weights for each of ``num`` images, or fewer once their error is small.

    .. math:: \log P(x) \approx \log \frac1K \sum_{k=1}^K w_k, \qquad \mathbb E[w_k] = P(x)

    Weights are summed as they are drawn, so that memory does not grow with the number of draws.

    Args:
        weigh: ``weigh(images, draws)`` returns log w and any further values, for indices of images and numbers of
            draws.
        num: number of images.
        num_draws: largest number of draws per image.
        chunk_size: number of draws per call of ``weigh``.
        device: device of the images.
        target_error: an image is done once its standard error in nats is at most this after a round of draws.

    Shapes: log w and further values ``(number of images, number of draws)``, or as images and draws broadcast; results
    ``(num,)``.

    >>> weigh = lambda images, draws: [images.double()]  # all weights of an image are equal
    >>> estimate = importance_weights(weigh, 3, 10, chunk_size=4, device=torch.device("cpu"))
    >>> estimate.log_likelihood, estimate.error
    (tensor([0., 1., 2.], dtype=torch.float64), tensor([0., 0., 0.], dtype=torch.float64))
    """
    check_sizes(num_draws=num_draws, chunk_size=chunk_size)
    if target_error is not None:
        check_positive(target_error=target_error)
    # a round consists of whole chunks, unless errors are checked after it
    size = ROUND if target_error is not None else chunk_size * -(-ROUND // chunk_size)
    sums, active = _Sums.zeros(num, device), torch.arange(num, device=device)
    for start in range(0, num_draws, size):
        if not len(active):
            break
        draws = torch.arange(start, min(start + size, num_draws), device=device)
        images = active.repeat_interleave(len(draws))
        pieces = zip(images.split(chunk_size), draws.repeat(len(active)).split(chunk_size), strict=True)
        values = [torch.stack([each.double() for each in weigh(*piece)]) for piece in pieces]
        sums = sums.plus(active, torch.cat(values, dim=1).unflatten(1, (len(active), len(draws))))
        if target_error is not None:
            active = active[sums.estimate().error[active] > target_error]
    return sums.estimate()


class _Sums(NamedTuple):
    """Sums over the draws of each image: log Σw and log Σw² ``(B,)``, values ``(1 + N, B)``, and their number."""

    log_sum: Tensor
    log_square_sum: Tensor
    values: Tensor
    num_draws: Tensor

    @classmethod
    def zeros(cls, num: int, device: torch.device) -> "_Sums":
        zero = torch.zeros(1, num, dtype=torch.float64, device=device)
        return cls(zero[0] - math.inf, zero[0] - math.inf, zero, zero[0].long())

    def plus(self, images: Tensor, drawn: Tensor) -> "_Sums":
        """Add log w and the further values, ``(1 + N, I, K)`` of I images."""
        log_sum, log_square_sum = self.log_sum.clone(), self.log_square_sum.clone()
        num_draws, values = self.num_draws.clone(), self.values.repeat(len(drawn) // len(self.values), 1)
        log_sum[images] = log_sum[images].logaddexp(drawn[0].logsumexp(1))
        log_square_sum[images] = log_square_sum[images].logaddexp((2 * drawn[0]).logsumexp(1))
        num_draws[images] += drawn.shape[2]
        values[:, images] += drawn.sum(2)
        return _Sums(log_sum, log_square_sum, values, num_draws)

    def estimate(self) -> LikelihoodEstimate:
        count, log_count = self.num_draws, self.num_draws.double().log()
        spread = torch.expm1((self.log_square_sum - 2 * self.log_sum + log_count).clamp(min=0))  # K Σw²/(Σw)² − 1
        error = torch.where(count > 1, (spread / (count - 1)).sqrt(), math.inf)
        bound, *means = self.values / count
        return LikelihoodEstimate(bound, self.log_sum - log_count, error, count, tuple(means))
