"""A flow over whole-numbered images."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lightning_flows.dequantization.base import Dequantization
from lightning_flows.dequantization.evidence import Evidence, gather_evidence
from lightning_flows.errors import InputTypeError, ShapeError, UsageError
from lightning_flows.flows.multiscale import MultiScaleFlow
from lightning_flows.functional.parts import note_part
from lightning_flows.functional.streams import stream


class Samples(NamedTuple):
    """Sampled images ``(num, C, H, W)`` in uint8, and how many of their values were not finite (drawn black)."""

    images: Tensor
    num_non_finite: int


class DequantizedFlow(nn.Module):
    r"""Probabilities of images in uint8 from a flow over the reals and a dequantization q.

    .. math:: \log P(x) \ge \mathbb E_{u\sim q}\big[\log p(x + u) - \log q(u\mid x)\big]

    Shapes: x ``(B, C, H, W)`` in uint8; values ``(B,)`` in nats.
    """

    def __init__(self, flow: MultiScaleFlow, dequantization: Dequantization) -> None:
        super().__init__()
        self.flow, self.dequantization = flow, dequantization

    def elbo(self, x: Tensor, noise: Tensor | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        """One draw of log p(x + u) − log q(u | x), a lower bound of log P(x) in expectation: ``(B,)``.

        Args:
            x: images.
            noise: output of the dequantization's ``draw_noise`` for these images; drawn here by default.
            generator: of that draw.
        """
        self._check(x)
        if noise is None:
            noise = self.dequantization.draw_noise(x, generator=generator)
        return self._log_weight(x, noise, self.dequantization.context(x))

    @torch.no_grad()
    def evidence(
        self,
        x: Tensor,
        num_draws: int,
        *,
        seeds: Sequence[int] | None = None,
        chunk_size: int = 256,
        target_error: float | None = None,
        on_progress: Callable[[float], None] | None = None,
        on_chunk: Callable[[Tensor], None] | None = None,
    ) -> Evidence:
        r"""Bound and importance-weighted likelihood :math:`\log \frac1K \sum_k p(x+u_k)/q(u_k\mid x)` of each image.

        The context is computed once per image, and memory does not grow with the number of draws.

        Args:
            x: images.
            num_draws: K.
            seeds: seeds of the noise, one per image; with the same seed an image gets the same noise for any batch,
                chunk size, device and number of devices. Random by default.
            chunk_size: number of images times draws that go through the flow at once.
            target_error: standard error of the likelihood, in nats, below which an image needs no more draws.
            on_progress: called periodically with the fraction of draws done.
            on_chunk: called after each chunk with the indices ``(rows,)`` of its images; anything that layers recorded
                during the call belongs to that chunk.

        Raises: UsageError if ``num_draws`` or ``chunk_size`` is below 1, ``target_error`` is not positive, or there is
        not one seed per image.
        """
        if num_draws < 1 or chunk_size < 1:
            raise UsageError(f"expected at least one draw and a chunk of one; got {num_draws} and {chunk_size}")
        self._check(x)
        seeds = torch.randint(2**62, (len(x),)).tolist() if seeds is None else seeds
        if len(seeds) != len(x):
            raise UsageError(f"expected one seed an image; got {len(seeds)} for {len(x)}")
        contexts = [self.dequantization.context(part) for part in x.split(chunk_size)]
        context = None if not contexts or contexts[0] is None else torch.cat(contexts)  # type: ignore[arg-type]

        def log_weight(rows: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
            draws = [self.dequantization.draw_noise(on_host, generator=generator) for generator in generators]
            noise = torch.cat(draws).to(x.device)
            return self._log_weight(x[rows], noise, None if context is None else context[rows])

        on_host = torch.empty(1, *x.shape[1:], dtype=x.dtype)  # noise drawn here is the same on any device
        generators = [stream(seed, "dequantization") for seed in seeds]
        return gather_evidence(
            log_weight,
            generators,
            num_draws,
            chunk_size=chunk_size,
            device=x.device,
            target_error=target_error,
            on_progress=on_progress,
            on_chunk=on_chunk,
        )

    @torch.no_grad()
    def sample(self, num: int, *, temperature: float = 1.0, generator: torch.Generator | None = None) -> Samples:
        """Draw images; values are rounded down to whole levels and clamped to 0 … 255."""
        values = self.flow.sample(num, temperature=temperature, generator=generator)
        finite = torch.isfinite(values)
        levels = torch.where(finite, values, 0.0).floor().clamp(0, 255)
        return Samples(levels.to(torch.uint8), int((~finite).sum()))

    def _log_weight(self, x: Tensor, noise: Tensor, context: Tensor | None) -> Tensor:
        u, log_q = self.dequantization.transform(noise, context)
        note_part("dequantization", -log_q)
        v = (x + u).to(self.flow.base.mean.dtype).contiguous(memory_format=torch.channels_last)
        return self.flow.log_prob(v) - log_q

    def _check(self, x: Tensor) -> None:
        if x.dtype != torch.uint8:
            raise InputTypeError(f"expected images in uint8; got {x.dtype}")
        if x.shape[1:] != self.flow.event_shape:
            raise ShapeError(f"expected images of shape {self.flow.event_shape}; got {tuple(x.shape[1:])}")
