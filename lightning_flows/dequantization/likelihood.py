"""Importance-weighted likelihoods of images."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_flows.errors import UsageError

ROUND = 64
"""Draws per image between checks of the standard error."""


class LikelihoodEstimate(NamedTuple):
    r"""Estimates from K draws per image, each ``(B,)``, in nats and float64.

    With importance weights :math:`w_k = p(x + u_k)/q(u_k \mid x)`:

    Args:
        bound: mean of log w, an estimate of the evidence lower bound.
        log_likelihood: log of the mean of w; at least ``bound``, and in expectation at most log P(x).
        error: standard error of ``log_likelihood`` from the draws, by the delta method; infinite for a single draw. It
            is too small if a few draws dominate.
        num_draws: K.
        log_det_error: standard error of estimated log-determinants, averaged over draws; None if they are exact.
        log_det_remainder: bound on the truncated remainder of their series, averaged over draws; None if exact.
    """

    bound: Tensor
    log_likelihood: Tensor
    error: Tensor
    num_draws: Tensor
    log_det_error: Tensor | None
    log_det_remainder: Tensor | None


def importance_weights(
    draw: Callable[[int, int], Tensor],
    weigh: Callable[[Tensor, Tensor], Sequence[Tensor]],
    num: int,
    num_draws: int,
    *,
    chunk_size: int,
    device: torch.device,
    target_error: float | None = None,
) -> LikelihoodEstimate:
    """Draw ``num_draws`` importance weights for each of ``num`` images, or fewer once their error is small.

    Args:
        draw: ``draw(image, count)`` returns the noise of the next ``count`` draws of an image, ``(count, …)``.
        weigh: ``weigh(images, noise)`` returns log w, with the error and remainder of its log-determinant if that is
            estimated, for image indices, which may repeat.
        num: number of images.
        num_draws: largest number of draws per image.
        chunk_size: number of draws per call of ``weigh``.
        device: device of the images.
        target_error: an image is done once its standard error in nats is at most this after a round of draws.
    """
    if num_draws < 1 or chunk_size < 1:
        raise UsageError(f"expected num_draws and chunk_size of at least 1; got {num_draws} and {chunk_size}")
    if target_error is not None and not target_error > 0:
        raise UsageError(f"expected a target_error above 0; got {target_error}")
    found = torch.zeros(1, num, num_draws, dtype=torch.float64, device=device)
    count = torch.zeros(num, dtype=torch.long, device=device)
    active, done = list(range(num)), 0
    while active and done < num_draws:
        size = min(ROUND, num_draws - done)
        per_chunk = max(1, chunk_size // size)
        for start in range(0, len(active), per_chunk):
            images = active[start : start + per_chunk]
            noise = torch.cat([draw(image, size) for image in images]).to(device)
            indices = torch.tensor(images, device=device)
            rows = indices.repeat_interleave(size)
            pieces = zip(rows.split(chunk_size), noise.split(chunk_size), strict=True)
            values = [torch.stack([each.double() for each in weigh(*piece)]) for piece in pieces]
            drawn = torch.cat(values, dim=1).unflatten(1, (len(images), size))
            found = found if len(drawn) == len(found) else found.repeat(len(drawn), 1, 1)
            found[:, indices, done : done + size] = drawn
        done += size
        count[torch.tensor(active, device=device)] = done
        if target_error is not None:
            error = _estimate(found, count).error.tolist()
            active = [image for image in active if error[image] > target_error]
    return _estimate(found, count)


def _estimate(found: Tensor, count: Tensor) -> LikelihoodEstimate:
    """From log w ``(1, B, K)``, or log w, errors and remainders; each image has its first ``count`` ``(B,)`` draws."""
    log_weights = torch.where(torch.arange(found.shape[2], device=count.device) < count[:, None], found[0], -math.inf)
    log_count, log_sum = count.double().log(), log_weights.logsumexp(1)
    spread = torch.expm1(((2 * log_weights).logsumexp(1) - 2 * log_sum + log_count).clamp(min=0))  # K Σw²/(Σw)² − 1
    error = torch.where(count > 1, (spread / (count - 1)).sqrt(), math.inf)
    bound, *of_log_det = found.sum(2) / count
    return LikelihoodEstimate(bound, log_sum - log_count, error, count, *(of_log_det or (None, None)))
