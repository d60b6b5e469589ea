"""Flows over images of integer values."""

import warnings
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lightning_flows.dequantization.base import Dequantization, Source
from lightning_flows.errors import ShapeError
from lightning_flows.flows.accuracy import Accuracy
from lightning_flows.flows.flow import Flow
from lightning_flows.functional.importance import LikelihoodEstimate, importance_weights, stream_per_image
from lightning_flows.functional.philox import Streams
from lightning_flows.functional.probes import probes_by_item
from lightning_flows.transforms.residual import LogDetReport


class BoundTerms(NamedTuple):
    r"""Terms ``(B,)`` in nats whose sum is the bound: of the latents, the log-determinant, and −log q(u | x).

    .. math:: \log p(z), \qquad \log|\det \partial z/\partial (x+u)|, \qquad -\log q(u \mid x)

    ``reports`` contains reports of the flow's layers, such as :class:`LogDetReport`.

    >>> from lightning_flows.flows import Flow
    >>> from lightning_flows.dequantization import UniformDequantization
    >>> from lightning_flows.transforms import Affine
    >>> model = DequantizedFlow(Flow(Affine(128, 256), event_shape=(1, 2, 2)), UniformDequantization((1, 2, 2)))
    >>> terms = model.elbo_terms(torch.zeros(1, 1, 2, 2, dtype=torch.uint8))
    >>> terms.log_det  # −4 log 256
    tensor([-22.1807])
    """

    latents: Tensor
    log_det: Tensor
    dequantization: Tensor
    reports: list[NamedTuple]


class DequantizedFlow(nn.Module):
    r"""Probabilities of uint8 images from a flow over the reals and a dequantization q.

    .. math:: \log P(x) \ge \mathbb E_{u\sim q}\big[\log p(x + u) - \log q(u\mid x)\big]

    Calling it returns one draw of the bound.

    Shapes: x uint8 ``(B, C, H, W)``; values ``(B,)`` in nats.
    Raises: InputTypeError, ShapeError for images of a different dtype or shape, or noise of a different shape.

    >>> from lightning_flows.dequantization import UniformDequantization
    >>> from lightning_flows.flows import ConvSylvesterFlow
    >>> flow = ConvSylvesterFlow((3, 8, 8), hidden_channels=12, num_levels=1, steps_per_level=1)
    >>> model = DequantizedFlow(flow, UniformDequantization((3, 8, 8))).eval()
    >>> x = torch.randint(256, (2, 3, 8, 8), dtype=torch.uint8)
    >>> estimate = model.importance_sample(x, 10)
    >>> model(x).shape, bool((estimate.log_likelihood >= estimate.bound).all()), model.sample(4).dtype
    (torch.Size([2]), True, torch.uint8)
    """

    def __init__(self, flow: Flow, dequantization: Dequantization) -> None:
        super().__init__()
        if dequantization.event_shape != flow.event_shape:
            raise ShapeError(
                f"expected a dequantization with the flow's event_shape {flow.event_shape}; got "
                f"{dequantization.event_shape}"
            )
        self.flow, self.dequantization = flow, dequantization

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape (C, H, W) of the images."""
        return self.flow.event_shape

    @property
    def recompute(self) -> bool:
        """Whether flow and dequantization keep only the inputs of their steps in training, as in :class:`Flow`."""
        return self.flow.recompute

    @recompute.setter
    def recompute(self, value: bool) -> None:
        self.flow.recompute = self.dequantization.recompute = value

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        return self.elbo(x, noise)

    def elbo(self, x: Tensor, noise: Tensor | None = None, *, generator: Source = None) -> Tensor:
        """One draw of log p(x + u) − log q(u | x), in expectation a lower bound on log P(x): ``(B,)``.

        Args:
            x: images.
            noise: output of the dequantization's ``draw_noise``; by default, drawn here.
            generator: generator for that draw, or a stream for each image, which then has its own probes.
        """
        terms = self.elbo_terms(x, noise, generator=generator)
        return terms.latents + terms.log_det + terms.dequantization

    def elbo_terms(self, x: Tensor, noise: Tensor | None = None, *, generator: Source = None) -> BoundTerms:
        """Terms of :meth:`elbo`, and reports."""
        self.dequantization.check(x)
        shape = (len(x), *self.dequantization.noise_shape)
        if noise is None:
            noise = self.dequantization.draw_noise(len(x), generator, device=x.device)
        elif noise.shape != shape:
            raise ShapeError(f"expected noise of shape {shape}, as draw_noise returns it; got {tuple(noise.shape)}")
        with probes_by_item(generator.numbers) if isinstance(generator, Streams) else nullcontext():
            return self._terms(x, noise.to(x.device), self.dequantization.context(x))

    @torch.no_grad()
    def importance_sample(
        self,
        x: Tensor,
        num_draws: int,
        *,
        noise: Streams | None = None,
        chunk_size: int = 256,
        target_error: float | None = None,
    ) -> LikelihoodEstimate:
        r"""Bound and importance-weighted likelihood :math:`\log \frac1K \sum_k p(x+u_k)/q(u_k\mid x)` per image.

        The context is computed once per image; memory does not grow with the number of draws. If log-determinants are
        estimated, each image has its own probes, and ``means`` are the standard error of its log-determinant and the
        bound on the remainder of the series.

        Args:
            x: images.
            num_draws: K.
            noise: a stream of noise for each image, see :func:`streams`, so that its noise does not depend on batches,
                chunks, devices or ``num_draws``. By default, the streams are random.
            chunk_size: number of draws evaluated at once.
            target_error: stop drawing for an image at this standard error of its likelihood, in nats.

        Raises: UsageError if ``num_draws`` or ``chunk_size`` is below 1, ``target_error`` is not positive, or there is
        not one stream per image.
        """
        self.dequantization.check(x)
        per_image = stream_per_image(noise, len(x), x.device)
        contexts = [self.dequantization.context(part) for part in x.split(max(1, chunk_size))]
        context = None if any(each is None for each in contexts) else torch.cat(contexts)  # type: ignore[arg-type]

        def weigh(images: Tensor, draws: Tensor) -> tuple[Tensor, ...]:
            drawn = self.dequantization.draw_noise(len(draws), per_image.of(images, draws))
            with probes_by_item(per_image.numbers[images]):  # the same for all draws of an image
                terms = self._terms(x[images], drawn, None if context is None else context[images])
            log_weight = terms.latents + terms.log_det + terms.dequantization
            reports = [report for report in terms.reports if isinstance(report, LogDetReport)]
            if not reports:
                return (log_weight,)
            error = torch.stack([report.error.double().square() for report in reports]).sum(0).sqrt()  # independent
            return log_weight, error, torch.stack([report.remainder for report in reports]).sum(0)

        return importance_weights(
            weigh,
            len(x),
            num_draws,
            chunk_size=chunk_size,
            device=x.device,
            target_error=target_error,
        )

    @torch.no_grad()
    def sample(
        self,
        num: int,
        *,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
        accuracy: Accuracy | None = None,
    ) -> Tensor:
        """Draw uint8 images ``(num, C, H, W)``: values are rounded down and clamped to 0 … 255.

        Warns about non-finite values, which become 0.
        """
        values = self.flow.sample(num, temperature=temperature, generator=generator, accuracy=accuracy)
        finite = values.isfinite()
        if not_finite := int((~finite).sum()):
            warnings.warn(f"{not_finite} sampled values are not finite and were set to 0", stacklevel=2)
        return torch.where(finite, values, 0.0).floor().clamp(0, 255).to(torch.uint8)

    def _terms(self, x: Tensor, noise: Tensor, context: Tensor | None) -> BoundTerms:
        u, log_q = self.dequantization.transform(noise, context)
        values = (x + u).to(self.flow.dtype).contiguous(memory_format=torch.channels_last)
        latents, log_det, reports = self.flow.log_prob_terms(values)
        return BoundTerms(latents, log_det, -log_q, reports)
