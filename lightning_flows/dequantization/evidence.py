"""Importance-weighted likelihoods of whole-numbered images."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_flows.errors import UsageError

ROUND = 64
"""Draws an image between two looks at its standard error; it depends on neither chunks nor batches."""


class Evidence(NamedTuple):
    r"""What K draws say about images, each ``(B,)``, in nats.

    With importance weights :math:`w_k = p(x + u_k)/q(u_k \mid x)`:

    Args:
        bound: mean of log w, an estimate of the evidence lower bound.
        log_likelihood: log of the mean of w; at least ``bound``, and in expectation at most log P(x).
        error: standard error of ``log_likelihood`` from the draws, by the delta method; infinite for a single draw.
            Where few draws carry the weight it says too little.
        num_draws: K.
    """

    bound: Tensor
    log_likelihood: Tensor
    error: Tensor
    num_draws: Tensor


class _Weights:
    """Running sums of log w, w and w², for each image, in float64."""

    def __init__(self, num: int, device: torch.device) -> None:
        self.count = torch.zeros(num, dtype=torch.long, device=device)
        self.log_weights = torch.zeros(num, dtype=torch.float64, device=device)
        self.log_sum = torch.full_like(self.log_weights, -math.inf)
        self.log_squares = torch.full_like(self.log_weights, -math.inf)

    def add(self, rows: Tensor, log_weights: Tensor) -> None:
        """Add draws ``(num_rows, K)`` of the images ``rows``."""
        self.count[rows] += log_weights.shape[1]
        self.log_weights[rows] += log_weights.sum(1)
        self.log_sum[rows] = torch.logaddexp(self.log_sum[rows], log_weights.logsumexp(1))
        self.log_squares[rows] = torch.logaddexp(self.log_squares[rows], (2 * log_weights).logsumexp(1))

    def evidence(self) -> Evidence:
        """The estimates."""
        log_count = self.count.double().log()
        spread = torch.expm1((self.log_squares - 2 * self.log_sum + log_count).clamp(min=0))  # K Σw²/(Σw)² − 1
        error = (spread / (self.count - 1)).sqrt()
        error = torch.where(self.count > 1, error, math.inf)
        return Evidence(self.log_weights / self.count, self.log_sum - log_count, error, self.count)


def gather_evidence(
    log_weight: Callable[[Tensor, Sequence[torch.Generator]], Tensor],
    generators: Sequence[torch.Generator],
    num_draws: int,
    *,
    chunk_size: int,
    device: torch.device,
    target_error: float | None = None,
    on_progress: Callable[[float], None] | None = None,
    on_chunk: Callable[[Tensor], None] | None = None,
) -> Evidence:
    """Draw ``num_draws`` importance weights per image, or fewer if their standard error is small enough.

    Args:
        log_weight: returns one log w for each image index it is given (repeated indices are independent draws), with
            noise from the corresponding generators.
        generators: one per image, so that its noise does not depend on other images.
        num_draws: K, at least 1.
        chunk_size: number of images times draws passed to ``log_weight`` at once.
        device: device of the images.
        target_error: an image is done once its standard error after a round of draws is at most this, in nats.
        on_progress: called after each chunk with the fraction of all draws done, and with 1 at the end.
        on_chunk: called after each chunk with the image indices passed to ``log_weight``, one per draw.

    Raises: UsageError if ``target_error`` is not positive.
    """
    if target_error is not None and not target_error > 0:
        raise UsageError(f"expected a target_error above 0; got {target_error}")
    tell = on_progress or (lambda share: None)
    weights = _Weights(len(generators), device)
    active = list(range(len(generators)))
    done = 0
    while active and done < num_draws:
        count = min(ROUND, num_draws - done)
        draws = [i for i in active for _ in range(count)]
        values = []
        for start in range(0, len(draws), chunk_size):
            rows = draws[start : start + chunk_size]
            chunk = torch.tensor(rows, device=device)
            values.append(log_weight(chunk, [generators[i] for i in rows]))
            if on_chunk is not None:
                on_chunk(chunk)
            tell((done + count * (start + len(rows)) / len(draws)) / num_draws)
        weights.add(torch.tensor(active, device=device), torch.cat(values).double().reshape(len(active), count))
        done += count
        if target_error is not None:
            error = weights.evidence().error.tolist()
            active = [i for i in active if error[i] > target_error]
    tell(1.0)
    return weights.evidence()
