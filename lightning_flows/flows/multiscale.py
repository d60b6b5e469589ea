"""Multi-scale flows."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_flows.distributions.gaussian import DiagonalGaussian, standard_normal_log_prob
from lightning_flows.errors import ShapeError, UsageError
from lightning_flows.flows.double import call_in_float64
from lightning_flows.flows.split_prior import SplitPrior
from lightning_flows.functional.parts import note_part
from lightning_flows.functional.recorded import Recorded
from lightning_flows.transforms.base import Transform, check_dtype, zero_log_det
from lightning_flows.transforms.image.coupling import AffineCoupling


class MultiScaleFlow(Recorded, nn.Module):
    r"""Levels of transforms; after each but the last a part is factored out to a prior given the rest.

    .. math:: \log p(x) = \log p_Z(z_L) + \sum_{l<L} \log \mathcal N(\varepsilon_l) + \sum \log|\det J|

    ``encode`` returns all latents, (ε₁, …, ε_{L−1}, z_L), so ``decode`` gives x back. In eval mode both compute in
    float64, as steep layers magnify the round-off of float32; ``exact=False`` does without, a few times faster.
    Latents and data have the dtype of what is given.

    Args:
        levels: one transform a level, squeezes included.
        splits: one :class:`SplitPrior` fewer.
        event_shape: shape (C, H, W) of x.
    Shapes: x ``(B, *event_shape)``; densities ``(B,)`` in nats.
    """

    def __init__(self, levels: Sequence[Transform], splits: Sequence[SplitPrior], event_shape: Sequence[int]) -> None:
        super().__init__()
        if len(splits) != len(levels) - 1:
            raise UsageError(f"expected one split fewer than levels; got {len(splits)} for {len(levels)} levels")
        self.levels, self.splits = nn.ModuleList(levels), nn.ModuleList(splits)
        self.event_shape = tuple(event_shape)
        *self.noise_shapes, last_shape = self._latent_shapes()
        self.base = DiagonalGaussian(last_shape)

    def encode(self, x: Tensor, context: Tensor | None = None, *, exact: bool = True) -> tuple[Tensor, ...]:
        """Data to latents."""
        if exact and not self.training and x.is_floating_point():
            return tuple(latent.to(x.dtype) for latent in call_in_float64(self, "_encode", x, context)[0])
        return self._encode(x, context)[0]

    def decode(self, latents: Sequence[Tensor], context: Tensor | None = None, *, exact: bool = True) -> Tensor:
        """Latents to data."""
        if exact and not self.training:
            return call_in_float64(self, "_decode", tuple(latents), context, False)[0].to(latents[-1].dtype)
        return self._decode(latents, context, False)[0]

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density ``(B,)`` in nats."""
        latents, log_det = self._encode(x, context)
        latent_log_prob = self._latent_log_prob(latents)
        note_part("latents", latent_log_prob)
        note_part("log_det", log_det)
        return latent_log_prob + log_det

    def sample_latents(
        self, num: int, *, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> tuple[Tensor, ...]:
        """Draw latents; the same ``generator`` state gives the same noise whatever the parameters."""
        like = self.base.mean
        noise = [
            temperature * torch.randn(num, *shape, generator=generator, device=like.device, dtype=like.dtype)
            for shape in self.noise_shapes
        ]
        return *noise, self.base.sample(num, temperature=temperature, generator=generator)

    def sample(
        self,
        num: int,
        context: Tensor | None = None,
        *,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw ``(num, *event_shape)``; ``temperature`` scales the noise of every level."""
        latents = self.sample_latents(num, temperature=temperature, generator=generator)
        return self._decode(latents, context, False)[0]

    def sample_and_log_prob(
        self, num: int, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw ``(num, *event_shape)`` and its log-density ``(num,)``, in one pass."""
        latents = self.sample_latents(num, generator=generator)
        x, log_det = self._decode(latents, context)
        return x, self._latent_log_prob(latents) - log_det

    def _encode(self, x: Tensor, context: Tensor | None) -> tuple[tuple[Tensor, ...], Tensor]:
        self._check(x, context)
        log_det, latents = zero_log_det(x), []
        for i, level in enumerate(self.levels):
            x, step = level(x, context)
            log_det = log_det + step
            if i < len(self.splits):
                x, noise, step = self.splits[i](x, context)
                log_det = log_det + step
                latents.append(noise)
        return (*latents, x), log_det

    def _decode(
        self, latents: Sequence[Tensor], context: Tensor | None, wants_log_det: bool = True
    ) -> tuple[Tensor, Tensor]:
        *noises, x = latents
        self._check(x, context)
        log_det = zero_log_det(x)
        for i in reversed(range(len(self.levels))):
            if i < len(self.splits):
                x, step = self.splits[i].inverse(x, noises[i], context)
                log_det = log_det + step
            if wants_log_det:
                x, step = self.levels[i].inverse(x, context)
                log_det = log_det + step
            else:
                x = self.levels[i].decode(x, context)
        return x, log_det

    def _check(self, x: Tensor, context: Tensor | None) -> None:
        check_dtype(x, self.base.mean)
        if context is not None and not any(isinstance(module, AffineCoupling) for module in self.modules()):
            raise ShapeError(f"expected no context, as no layer of this flow takes one; got {tuple(context.shape)}")

    def _latent_log_prob(self, latents: Sequence[Tensor]) -> Tensor:
        *noises, last = latents
        return self.base.log_prob(last) + sum(standard_normal_log_prob(noise) for noise in noises)

    def _latent_shapes(self) -> list[tuple[int, ...]]:
        shape, shapes = self.event_shape, []
        for i, level in enumerate(self.levels):
            shape = level.output_shape(shape)
            if i < len(self.splits):
                shape, factored = self.splits[i].split_shape(shape)
                shapes.append(factored)
        return [*shapes, shape]
