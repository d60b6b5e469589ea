"""A flow over whole-numbered pictures."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lightning_flows.dequantization.base import Dequantization
from lightning_flows.errors import InputTypeError, ShapeError
from lightning_flows.flows.multiscale import MultiScaleFlow


class Samples(NamedTuple):
    """Sampled pictures ``(num, C, H, W)`` in uint8, and how many of their values were not finite (drawn black)."""

    images: Tensor
    num_non_finite: int


class DequantizedFlow(nn.Module):
    r"""Probabilities of pictures in uint8 from a flow over the reals and a dequantisation q.

    .. math:: \log P(x) \ge \mathbb E_{u\sim q}\big[\log p(x + u) - \log q(u\mid x)\big]

    Shapes: x ``(B, C, H, W)`` in uint8; values ``(B,)`` in nats.
    """

    def __init__(self, flow: MultiScaleFlow, dequantization: Dequantization) -> None:
        super().__init__()
        self.flow, self.dequantization = flow, dequantization

    def elbo(self, x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """One draw of log p(x + u) − log q(u | x), a lower bound of log P(x) in expectation: ``(B,)``."""
        self._check(x)
        u, log_q = self.dequantization.sample(x, generator=generator)
        v = (x + u).contiguous(memory_format=torch.channels_last)
        return self.flow.log_prob(v) - log_q

    @torch.no_grad()
    def log_likelihood(
        self, x: Tensor, num_draws: int, *, chunk_size: int = 64, generator: torch.Generator | None = None
    ) -> Tensor:
        r"""Importance-weighted estimate :math:`\log \frac1K \sum_k p(x+u_k)/q(u_k\mid x)` of log P(x): ``(B,)``.

        K = ``num_draws``; at most ``chunk_size`` pictures and draws go through the flow at once, so memory does not
        grow with K. Its expectation lies between the bound and log P(x). Raises: ValueError if ``num_draws`` < 1.
        """
        if num_draws < 1 or chunk_size < 1:
            raise ValueError(f"expected at least one draw and a chunk of one; got {num_draws} and {chunk_size}")
        self._check(x)
        total = torch.full((x.shape[0],), -math.inf, device=x.device)
        copies = max(1, chunk_size // max(1, x.shape[0]))
        for start in range(0, num_draws, copies):
            count = min(copies, num_draws - start)
            parts = x.repeat(count, 1, 1, 1).split(chunk_size)
            elbo = torch.cat([self.elbo(part, generator=generator) for part in parts])
            total = torch.logaddexp(total, elbo.reshape(count, -1).logsumexp(0))
        return total - math.log(num_draws)

    @torch.no_grad()
    def sample(self, num: int, *, temperature: float = 1.0, generator: torch.Generator | None = None) -> Samples:
        """Draw pictures; values are rounded down to whole levels and clamped to 0 … 255."""
        values = self.flow.sample(num, temperature=temperature, generator=generator)
        finite = torch.isfinite(values)
        levels = torch.where(finite, values, 0.0).floor().clamp(0, 255)
        return Samples(levels.to(torch.uint8), int((~finite).sum()))

    def _check(self, x: Tensor) -> None:
        if x.dtype != torch.uint8:
            raise InputTypeError(f"expected pictures in uint8; got {x.dtype}")
        if x.shape[1:] != self.flow.event_shape:
            raise ShapeError(f"expected pictures of shape {self.flow.event_shape}; got {tuple(x.shape[1:])}")
