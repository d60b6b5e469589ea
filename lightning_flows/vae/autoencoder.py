"""Variational autoencoders of images."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_flows.distributions.gaussian import standard_normal_log_prob
from lightning_flows.errors import InputTypeError, ShapeError, UsageError, check_sizes
from lightning_flows.functional.importance import LikelihoodEstimate, importance_weights, stream_per_image
from lightning_flows.functional.philox import Streams
from lightning_flows.functional.precision import full_precision
from lightning_flows.functional.probes import probes_by_item
from lightning_flows.nets.gated_conv import GatedConvSizes, GatedDecoder, GatedEncoder
from lightning_flows.posteriors import Posterior
from lightning_flows.vae.likelihoods import likelihood_of

VARIANCES = (0.01, 7.0)
"""Bounds of the variances of latents of images with more than two levels, as in the source."""


class VAETerms(NamedTuple):
    r"""Terms ``(B,)`` in nats of the bound, which is their difference.

    .. math:: \log P(x\mid z), \qquad \log q(z\mid x) - \log p(z)

    >>> terms = VAETerms(torch.tensor([-90.0]), torch.tensor([12.0]))
    >>> terms.elbo
    tensor([-102.])
    """

    log_likelihood: Tensor
    kl: Tensor

    @property
    def elbo(self) -> Tensor:
        """The bound."""
        return self.log_likelihood - self.kl


class Encoding(NamedTuple):
    """Output of the encoder: mean and standard deviation ``(B, D)`` of z₀, and features ``(B, F)``."""

    mean: Tensor
    std: Tensor
    features: Tensor


class VAE(nn.Module):
    r"""Variational autoencoder of uint8 images with D latents, a standard normal prior and any posterior.

    .. math:: \log P(x) \ge \mathbb E_{z\sim q(z\mid x)}\big[\log P(x\mid z) + \log p(z) - \log q(z\mid x)\big]

    Calling it returns one draw of the bound.

    Args:
        event_shape: shape (C, H, W) of the images.
        num_levels: levels of their values: 2 for a Bernoulli likelihood, more for a categorical one.
        posterior: posterior, as an instance or a function of ``latent_size`` and ``context_features``.
        latent_size: D; must equal that of a posterior passed as an instance.
        sizes: sizes of encoder and decoder.

    Shapes: x uint8 ``(B, C, H, W)``; values ``(B,)`` in nats.
    Raises: InputTypeError, ShapeError, UsageError for images of a different dtype, shape or number of levels.
    Source: Kingma and Welling, Auto-encoding variational Bayes, 2014; nets of van den Berg et al., 2018.

    >>> from lightning_flows.posteriors import PlanarPosterior
    >>> small = GatedConvSizes(width=4, features=8, hidden=8)
    >>> vae = VAE((1, 8, 8), 2, PlanarPosterior, latent_size=3, sizes=small).eval()
    >>> x = torch.randint(2, (5, 1, 8, 8), dtype=torch.uint8)
    >>> vae(x).shape, vae.latents(x).shape, vae.sample(4).shape
    (torch.Size([5]), torch.Size([5, 3]), torch.Size([4, 1, 8, 8]))
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        num_levels: int,
        posterior: Callable[..., Posterior],
        *,
        latent_size: int = 64,
        sizes: GatedConvSizes | None = None,
    ) -> None:
        super().__init__()
        check_sizes(latent_size=latent_size)
        sizes = sizes or GatedConvSizes()
        self.event_shape, self.latent_size = tuple(event_shape), latent_size
        self.likelihood = likelihood_of(num_levels)
        self.encoder = GatedEncoder(self.event_shape, sizes)
        self.mean, self.variance = nn.Linear(sizes.features, latent_size), nn.Linear(sizes.features, latent_size)
        self.posterior = posterior_of(posterior, latent_size, sizes.features)
        self.decoder = GatedDecoder(latent_size, self.event_shape, self.likelihood.num_logits, sizes)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the parameters."""
        return self.mean.weight.dtype

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        return self.elbo_terms(x, noise).elbo

    def elbo_terms(self, x: Tensor, noise: Tensor | None = None) -> VAETerms:
        """Terms of one draw of the bound, from standard normal noise ``(B, D)``, by default drawn here.

        Levels are checked on the CPU only: elsewhere, the host would wait for the device.
        """
        self.check(x, levels=x.device.type == "cpu" and not torch.compiler.is_compiling())
        if noise is None:
            noise = torch.randn(len(x), self.latent_size, device=x.device, dtype=self.dtype)
        return self._terms(x, self.encode(x), noise)

    def encode(self, x: Tensor) -> Encoding:
        """Run the encoder."""
        scaled = x.to(self.dtype).div_(self.likelihood.num_levels - 1).contiguous(memory_format=torch.channels_last)
        h = self.encoder(scaled).to(self.dtype)
        with full_precision(h):
            variance = F.softplus(self.variance(h))
            if self.likelihood.num_levels > 2:
                variance = variance.clamp(*VARIANCES)
            return Encoding(self.mean(h), variance.sqrt(), h)

    def latents(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Latents ``(B, D)`` of the posterior, by default from noise 0."""
        self.check(x, levels=True)
        encoding = self.encode(x)
        with full_precision(encoding.mean):
            z: Tensor = self.posterior(*encoding, torch.zeros_like(encoding.mean) if noise is None else noise)[0]
        return z

    def decode(self, z: Tensor) -> Tensor:
        """Expected levels ``(B, C, H, W)`` of images with latents z."""
        return self.likelihood.mean(self.decoder(z))

    @torch.no_grad()
    def importance_sample(
        self, x: Tensor, num_draws: int, *, noise: Streams | None = None, chunk_size: int = 256
    ) -> LikelihoodEstimate:
        r"""Bound and importance-weighted likelihood :math:`\log\frac1K\sum_k P(x\mid z_k)\,p(z_k)/q(z_k\mid x)`.

        The encoder runs once per image; memory does not grow with the number of draws. ``means`` is the KL term.

        Args:
            x: images.
            num_draws: K.
            noise: a stream of noise for each image, see :func:`streams`, so that its noise does not depend on batches,
                chunks, devices or ``num_draws``. By default, the streams are random.
            chunk_size: number of draws evaluated at once.

        Raises: UsageError if ``num_draws`` or ``chunk_size`` is below 1, or there is not one stream per image.
        Source: Burda, Grosse and Salakhutdinov, Importance weighted autoencoders, 2016.
        """
        self.check(x, levels=True)
        per_image = stream_per_image(noise, len(x), x.device)
        parts = zip(*(self.encode(part) for part in x.split(max(1, chunk_size))), strict=True)
        encoding = Encoding(*(torch.cat(part) for part in parts))

        def weigh(images: Tensor, draws: Tensor) -> tuple[Tensor, ...]:
            drawn = per_image.of(images, draws).normal((self.latent_size,), self.dtype)
            chosen = Encoding(*(part[images] for part in encoding))
            with probes_by_item(per_image.numbers[images]):
                terms = self._terms(x[images], chosen, drawn)
            return terms.elbo, terms.kl

        return importance_weights(weigh, len(x), num_draws, chunk_size=chunk_size, device=x.device)

    @torch.no_grad()
    def sample(
        self,
        num: int,
        *,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
        draw_levels: bool = False,
    ) -> Tensor:
        """Decode ``num`` draws of the prior to expected levels ``(num, C, H, W)``.

        Args:
            num: number of images.
            temperature: scale of the latents.
            generator: source of the random numbers.
            draw_levels: draw the levels, uint8, instead of returning their expected values.
        """
        z = torch.randn(num, self.latent_size, generator=generator, device=self.mean.weight.device, dtype=self.dtype)
        logits = self.decoder(temperature * z)
        return self.likelihood.sample(logits, generator) if draw_levels else self.likelihood.mean(logits)

    def _terms(self, x: Tensor, encoding: Encoding, noise: Tensor) -> VAETerms:
        with full_precision(noise):
            z, log_q = self.posterior(*encoding, noise)
            kl = log_q - standard_normal_log_prob(z)
        return VAETerms(self.likelihood.log_prob(self.decoder(z).to(z.dtype), x), kl)

    def check(self, x: Tensor, *, levels: bool) -> None:
        """Raise InputTypeError, ShapeError or UsageError unless x are images of this model, and their levels exist."""
        if x.dtype != torch.uint8:
            raise InputTypeError(f"expected uint8 images; got {x.dtype}")
        if x.shape[1:] != self.event_shape:
            raise ShapeError(f"expected images of shape {self.event_shape}; got {tuple(x.shape[1:])}")
        num = self.likelihood.num_levels
        if levels and num < 256 and x.numel() and (highest := int(x.max())) >= num:
            raise UsageError(
                f"expected images with levels 0 to {num - 1}; got one with level {highest}: binarize the images, or "
                "use another num_levels"
            )


def posterior_of(made: Callable[..., Posterior], latent_size: int, context_features: int) -> Posterior:
    """Return a posterior that is an instance, or build it with these sizes.

    Raises: InputTypeError if it is not a posterior; ShapeError if an instance has other sizes.
    """
    if not isinstance(made, nn.Module) and callable(made):
        made = made(latent_size=latent_size, context_features=context_features)
    if not isinstance(made, Posterior):
        raise InputTypeError(
            "expected a Posterior, or a function of latent_size and context_features that returns one; got "
            f"{type(made).__name__}"
        )
    if (made.latent_size, made.context_features) != (latent_size, context_features):
        raise ShapeError(
            f"expected a posterior of {latent_size} latents given {context_features} features; got one of "
            f"{made.latent_size} given {made.context_features}"
        )
    return made
