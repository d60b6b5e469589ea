"""Flows: transforms and a base density."""

import copy
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from lightning_flows.distributions import DiagonalGaussian, Distribution, standard_normal_log_prob
from lightning_flows.errors import ShapeError, UsageError, check_sizes
from lightning_flows.flows.accuracy import Accuracy, decode_within
from lightning_flows.functional.fixed_point import InverseReport
from lightning_flows.functional.nested_tensors import cast
from lightning_flows.functional.precision import full_precision
from lightning_flows.functional.recompute import Recomputation
from lightning_flows.functional.recorded import Recorded
from lightning_flows.functional.solver import Solver
from lightning_flows.transforms.base import Transform, check_matches
from lightning_flows.transforms.compose import Compose


class DensityTerms(NamedTuple):
    """Terms ``(B,)`` in nats whose sum is a log-density: of the latents, and the log-determinant.

    ``reports`` contains reports of the layers, such as :class:`LogDetReport`.
    """

    latents: Tensor
    log_det: Tensor
    reports: list[NamedTuple]


class Flow(Recorded, nn.Module):
    r"""Density of :math:`x = f^{-1}(z)` with z from a base density.

    .. math:: \log p(x) = \log p_Z(z_L) + \sum_{l<L} \log \mathcal N(\varepsilon_l) + \log|\det \partial f/\partial x|

    f is one transform, or L levels of them: after each level but the last, the second half of the channels is factored
    out as noise :math:`\varepsilon_l`. An affine coupling at the end of such a level models it as a Gaussian given
    the first half (Dinh et al., RealNVP, 2017, section 3.6; Kingma and Dhariwal, Glow, 2018).

    Calling a flow returns its log-density. Computations use the dtype of the parameters, which x must have as well.
    ``encode`` and ``decode`` first convert to ``dtype``, if given: steep layers amplify the round-off of float32. The
    flow itself is unchanged, so that its parameters then get no gradients. These methods and ``sample`` run in full
    precision, conditioner nets included; see :func:`full_precision`. Round-off changes the inputs of nets in an
    inverse, and reduced precision would amplify these changes to its own rounding error. ``decode`` and ``sample`` stop
    iterative inverses at an ``accuracy`` in units of the data (see :func:`decode_within`), or at round-off if it is
    ``"exact"``. None means ``default_accuracy``.

    Args:
        levels: a transform, or one per level.
        base: density of the last latent; by default a learned :class:`DiagonalGaussian`.
        event_shape: shape of x without the batch; by default that of ``base``.

    Shapes: x ``(B, *event_shape)``; latents :math:`(\varepsilon_1, \dots, \varepsilon_{L-1}, z_L)`, a tuple of
    ``(B, *latent_shapes[l])``; densities ``(B,)`` in nats.
    Raises: ShapeError, InputTypeError for tensors of a different shape, dtype or device.

    >>> from lightning_flows.transforms import Bias
    >>> flow = Flow(Bias((2,)), DiagonalGaussian((2,)))
    >>> flow(torch.zeros(1, 2)).detach()
    tensor([-1.8379])
    """

    accepts_context = True
    default_accuracy: Accuracy = "exact"
    scale = 1.0
    """Largest magnitude of typical data, which relates an accuracy to round-off."""

    def __init__(
        self,
        levels: Transform | Sequence[Transform],
        base: Distribution | None = None,
        *,
        event_shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if event_shape is None:
            if base is None:
                raise UsageError("expected an event_shape or a base; got neither")
            event_shape = base.event_shape
        self.event_shape = tuple(event_shape)
        if not self.event_shape:
            raise ShapeError("expected an event_shape with at least one dimension; got (): reshape values to (B, 1)")
        self.levels = nn.ModuleList([levels] if isinstance(levels, Transform) else levels)
        check_sizes(levels=len(self.levels))
        self.latent_shapes = self._latent_shapes()
        self.base = DiagonalGaussian(self.latent_shapes[-1]) if base is None else base
        if self.base.event_shape != self.latent_shapes[-1]:
            raise ShapeError(f"expected a base of shape {self.latent_shapes[-1]}; got {self.base.event_shape}")

    def forward(self, x: Tensor, context: Any = None) -> Tensor:
        return self.log_prob(x, context)

    def log_prob(self, x: Tensor, context: Any = None) -> Tensor:
        """Log-density ``(B,)`` in nats."""
        terms = self.log_prob_terms(x, context)
        return terms.latents + terms.log_det

    def log_prob_terms(self, x: Tensor, context: Any = None) -> DensityTerms:
        """Terms of the log-density, and reports."""
        latents, log_det, reports = self._forward(x, context)
        return DensityTerms(self.latent_log_prob(latents, context), log_det, reports)

    def encode(self, x: Tensor, context: Any = None, *, dtype: torch.dtype | None = None) -> tuple[Tensor, ...]:
        """Map data to latents."""
        flow, (x,), context = self._converted(dtype, (x,), context)
        with full_precision(x):
            return flow._forward(x, context)[0]

    def decode(
        self,
        latents: Tensor | Sequence[Tensor],
        context: Any = None,
        *,
        dtype: torch.dtype | None = None,
        accuracy: Accuracy | None = None,
    ) -> Tensor:
        """Map latents to data; a flow with one level also accepts its latent as a tensor."""
        return self.decode_reported(latents, context, dtype=dtype, accuracy=accuracy)[0]

    def decode_reported(
        self,
        latents: Tensor | Sequence[Tensor],
        context: Any = None,
        *,
        dtype: torch.dtype | None = None,
        accuracy: Accuracy | None = None,
    ) -> tuple[Tensor, list[InverseReport]]:
        """Map latents to data, and report the iterations of each iterative inverse, and its final residual."""
        flow, latents, context = self._converted(dtype, latents, context)
        checked = flow._check_latents(latents, context)

        def run(solver: Solver) -> Tensor:
            *noises, x = checked
            for level, noise in flow._backwards(noises):
                x = level.decode(x if noise is None else torch.cat([x, noise], dim=1), context, solver)
            return x

        with full_precision(checked[0]):
            x, solver = decode_within(run, accuracy, self.default_accuracy, self.scale, flow.dtype)
        return x, solver.reports

    def sample(
        self,
        num: int,
        context: Any = None,
        *,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
        accuracy: Accuracy | None = None,
    ) -> Tensor:
        """Draw ``(num, *event_shape)``; ``temperature`` scales the noise of every level."""
        latents = self.sample_latents(num, context, temperature=temperature, generator=generator)
        return self.decode(latents, context, accuracy=accuracy)

    def sample_and_log_prob(
        self, num: int, context: Any = None, *, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw ``(num, *event_shape)``, and its log-density ``(num,)``, in one exact pass."""
        latents = self.sample_latents(num, context, temperature=temperature, generator=generator)
        with full_precision(latents[0]):
            x, log_det, _ = self._inverse(latents, context)
        return x, self.latent_log_prob(latents, context) - log_det

    def latent_log_prob(self, latents: Sequence[Tensor], context: Any = None) -> Tensor:
        """Log-density ``(B,)`` in nats of the latents."""
        *noises, last = latents
        return sum(map(standard_normal_log_prob, noises), start=self.base.log_prob(last, context))

    def sample_latents(
        self, num: int, context: Any = None, *, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> tuple[Tensor, ...]:
        """Draw latents; the noise depends only on ``generator``, not on the parameters."""
        check_sizes(0, num=num)
        *shapes, _ = self.latent_shapes
        noises = [
            temperature * torch.randn(num, *shape, generator=generator, device=self.device, dtype=self.dtype)
            for shape in shapes
        ]
        return *noises, self.base.sample(num, context, temperature=temperature, generator=generator)

    @property
    def recompute(self) -> bool:
        """Whether each transform of a level, such as a step, keeps only its input in training.

        The backward pass computes its activations again, which takes much less memory and about a third more time. See
        :class:`Recomputation`. Gradients are the same.
        """
        return any(isinstance(level, Compose) and level.recompute is not None for level in self.levels)

    @recompute.setter
    def recompute(self, value: bool) -> None:
        for name, level in self.levels.named_children():
            if isinstance(level, Compose):
                level.recompute = Recomputation(f"levels.{name}.transforms.") if value else None

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the parameters, or of the buffers if there are none."""
        return self._like.dtype

    @property
    def device(self) -> torch.device:
        """Device of the parameters, or of the buffers if there are none."""
        return self._like.device

    @property
    def _like(self) -> Tensor:
        """A tensor that others should match: the first floating parameter or buffer."""
        for tensor in chain(self.parameters(), self.buffers()):
            if tensor.is_floating_point():
                return tensor
        return torch.empty(0)

    def extra_repr(self) -> str:
        return str(self.event_shape)

    def _forward(self, x: Tensor, context: Any) -> tuple[tuple[Tensor, ...], Tensor, list[NamedTuple]]:
        x = self._check(x, self.event_shape, context)
        noises, log_dets, reports = [], [], []
        for level in self.levels:
            x, log_det, found = level.forward_reported(x, context)
            log_dets.append(log_det)
            reports += found
            if len(log_dets) < len(self.levels):
                x, noise = x.tensor_split([x.shape[1] // 2], dim=1)
                noises.append(noise)
        return (*noises, x), _sum(log_dets), reports

    def _inverse(self, latents: Sequence[Tensor], context: Any) -> tuple[Tensor, Tensor, list[NamedTuple]]:
        *noises, x = self._check_latents(latents, context)
        log_dets, reports = [], []
        for level, noise in self._backwards(noises):
            x = x if noise is None else torch.cat([x, noise], dim=1)
            x, log_det, found = level.inverse_reported(x, context)
            log_dets.append(log_det)
            reports += found
        return x, _sum(log_dets), reports

    def _backwards(self, noises: Sequence[Tensor]) -> list[Any]:
        """Pair each level with the noise that was factored out after it, the last level first."""
        return list(zip_longest(self.levels, noises))[::-1]

    def _check_latents(self, latents: Sequence[Tensor], context: Any) -> list[Tensor]:
        if len(latents) != len(self.latent_shapes):
            raise ShapeError(f"expected {len(self.latent_shapes)} latents; got {len(latents)}")
        return [self._check(z, shape, context) for z, shape in zip(latents, self.latent_shapes, strict=True)]

    def _check(self, x: Tensor, shape: tuple[int, ...], context: Any) -> Tensor:
        check_matches(x, self)
        if x.shape[1:] != shape or not x.ndim:
            raise ShapeError(f"expected shape (B, {', '.join(map(str, shape))}); got {tuple(x.shape)}")
        if context is not None and not self.accepts_context:
            got = tuple(context.shape) if isinstance(context, Tensor) else type(context).__name__
            raise ShapeError(f"expected no context for {type(self).__name__}; got {got}")
        return x

    def _converted(
        self, dtype: torch.dtype | None, values: Tensor | Sequence[Tensor], context: Any
    ) -> tuple[Self, Sequence[Tensor], Any]:
        """Convert the flow, values and context to a dtype; the flow itself is unchanged."""
        values = (values,) if isinstance(values, Tensor) else values
        if dtype is None:
            return self, values, context
        with torch.inference_mode(False):  # residual blocks differentiate, which inference mode forbids
            flow = self if dtype == self.dtype else copy.deepcopy(self).to(dtype)
        return flow, [value.to(dtype) for value in values], cast(context, dtype)

    def _latent_shapes(self) -> list[tuple[int, ...]]:
        shapes, shape = [], self.event_shape
        for level in self.levels:
            channels, *rest = level.output_shape(shape)
            shape = (channels // 2, *rest)
            shapes.append((channels - channels // 2, *rest))
        return [*shapes[:-1], (channels, *rest)]


class ImageFlow(Flow):
    r"""A flow of images :math:`x \in [0, 256]`, which are decoded to a hundredth of a pixel level by default.

    Shapes: x ``(B, C, H, W)``.

    >>> from lightning_flows.transforms import Affine
    >>> flow = ImageFlow(Affine(shift=128.0, scale=256.0), event_shape=(1, 4, 4))
    >>> flow.sample(2).shape
    torch.Size([2, 1, 4, 4])
    """

    accepts_context = False
    default_accuracy: Accuracy = 0.01
    scale = 256.0


def _sum(log_dets: Sequence[Tensor]) -> Tensor:
    first, *others = log_dets
    return sum(others, start=first)
