"""Checks of a density, its latents and its samples."""

import inspect
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from lightning_flows.functional.streams import forked, stream
from lightning_flows.testing.compare import ROUND, SINGLE, number, same_log_dets, same_values
from lightning_flows.testing.faults import Found
from lightning_flows.testing.jacobian import log_abs_dets
from lightning_flows.testing.quadrature import Grid, check_total, integrate
from lightning_flows.testing.samples import check_means, check_same, check_stein
from lightning_flows.testing.subject import Call, Subject
from lightning_flows.testing.values import items

MAX_CONTEXTS = 4
"""Items whose samples are compared with those of their context alone."""


def draw(
    module: Any,
    call: Call,
    num: int,
    *,
    seed: int = 0,
    method: str = "sample",
    among: Sequence[int] = (0,),
    **options: Any,
) -> Any:
    """Samples with the contexts of some items in turn, by default the first; torch's global generator is restored."""
    sample = getattr(module, method)
    if "generator" in inspect.signature(sample).parameters:
        options["generator"] = stream(seed, "samples of a check")
    with forked(seed, "testing without a generator"):
        return sample(num, *repeated(call, num, among), **options)


def repeated(call: Call, num: int, among: Sequence[int] = (0,)) -> tuple[Any, ...]:
    """The contexts of some items in turn, by default the first, for ``num`` items."""
    index = torch.tensor(among)[torch.arange(num) % len(among)]
    return items(call.arguments[1:], index, call.batch)


class SampleCall(Call):
    """A call of ``sample`` for as many items as x has; torch's global generator is used only if it must be."""

    def __call__(self, module: nn.Module) -> tuple[Tensor, ...]:
        options: dict[str, Any] = {}
        if "generator" in inspect.signature(module.sample).parameters:  # type: ignore[arg-type]
            options["generator"] = stream(0, "testing of calls")
        return (module.sample(self.batch, *self.arguments[1:], **options),)


def with_samples(subject: Subject) -> Subject:
    """The subject with a call of ``sample`` besides its own."""
    call = subject.calls[0]
    return subject._replace(calls=[*subject.calls, SampleCall("sample", call.arguments, ("samples",))])


class Density:
    """A density of the first item's context, its integral and its samples, each computed once."""

    def __init__(
        self,
        subject: Subject,
        bounds: tuple[float, float] | None,
        mass_tolerance: float,
        num_samples: int,
        false_alarm: float,
    ) -> None:
        self.subject, self.call, self.bounds = subject, subject.calls[0], bounds
        self.mass_tolerance, self.num_samples, self.false_alarm = mass_tolerance, num_samples, false_alarm
        self.event_shape = self.call.arguments[0].shape[1:]

    @cached_property
    def module(self) -> Any:
        return self.subject.fresh()

    @cached_property
    def samples(self) -> Tensor:
        with torch.no_grad():
            return draw(self.module, self.call, self.num_samples).double()  # without parameters, any dtype is right

    @cached_property
    def like(self) -> Tensor:
        """Values that show where the density is, whatever the sampler does."""
        with torch.no_grad():
            others = draw(self.module, self.call, 1000, seed=1)  # independent of the samples that are tested
        return torch.cat([self.call.arguments[0], others[others.flatten(1).isfinite().all(1)]])

    @cached_property
    def integral(self) -> tuple[Grid, Tensor, float]:
        with torch.no_grad():
            finite = self.samples[self.samples.flatten(1).isfinite().all(1)]
            return integrate(self.log_prob, self.like, finite, self.mass_tolerance, self.bounds)

    def log_prob(self, x: Tensor) -> Tensor:
        return self.module.log_prob(x, *repeated(self.call, len(x)))


def check_normalization(density: Density) -> None:
    """The density integrates to one."""
    _, masses, error = density.integral
    check_total(masses, error, density.mass_tolerance, density.event_shape)


def check_samples(density: Density) -> None:
    """Samples follow the density."""
    if not density.samples.isfinite().all():
        raise Found(f"{int((~density.samples.isfinite()).sum())} values of samples are not finite")
    if density.event_shape.numel() > 2:
        check_stein(density.log_prob, density.samples, density.like, density.false_alarm)
    else:
        grid, masses, error = density.integral
        error += density.mass_tolerance / 10
        check_means(density.samples, grid, masses, density.like, error, density.false_alarm)


@torch.no_grad()
def check_contexts(density: Density) -> None:
    """Samples of an item in a batch of contexts are distributed as those of a batch of its context alone.

    Distributions are compared, not values: the random numbers of an item may depend on its batch.
    """
    call, module = density.call, density.module
    among = range(min(MAX_CONTEXTS, call.batch))
    num = max(density.num_samples // len(among), 1)
    like = draw(module, call, 1000, seed=1, among=among).double()
    mixed = draw(module, call, num * len(among), seed=2, among=among).double()
    for item in among:
        alone = draw(module, call, num, seed=3 + item, among=(item,)).double()
        what = f"of item {item} in a batch do not follow those of its context alone"
        check_same(mixed[item :: len(among)], alone, like, what, density.false_alarm / len(among))


def check_log_prob(subject: Subject, tolerance: float) -> None:
    """log p(x) = log p(latents) + log|det J| of the map to all latents."""
    call, module = subject.calls[0], subject.fresh()
    x, *context = call.arguments

    def latents(value: Tensor) -> Tensor:
        return _flat(module.encode(value, *context))

    log_det = log_abs_dets(latents, x)
    with torch.no_grad():
        found = call(module)[0] - module.latent_log_prob(module.encode(x, *context), *context)
    same_log_dets(found, log_det, tolerance, "log_prob − latent_log_prob", x.shape[1:])


@torch.no_grad()
def check_decode(subject: Subject, tolerance: float) -> None:
    """decode(encode(x)) = x."""
    module, (x, *context) = subject.fresh(), subject.calls[0].arguments
    exact = {"accuracy": "exact"} if "accuracy" in inspect.signature(module.decode).parameters else {}
    same_values(module.decode(module.encode(x, *context), *context, **exact), x, tolerance, "decode(encode(x))", "x")


@torch.no_grad()
def check_sample_log_prob(subject: Subject, tolerance: float) -> None:
    """Samples are returned with their log_prob, that of ``log_prob``, each with its own context."""
    call, module = subject.calls[0], subject.fresh()
    among = range(call.batch)
    x, log_prob = draw(module, call, call.batch, method="sample_and_log_prob", among=among)
    expected = module.log_prob(x, *repeated(call, call.batch, among))
    tolerance = max(100 * tolerance, SINGLE if x.dtype == torch.float32 else 0.0)  # of a flow without parameters
    same_values(log_prob, expected, tolerance, "log_prob of sample_and_log_prob", "log_prob")


@torch.no_grad()
def check_temperature(subject: Subject) -> None:
    r"""Latents at temperature T are :math:`e_0 + T (e_1 - e_0)`, with the same noise."""
    call, module, tolerance = subject.calls[0], subject.fresh(), 1e-5
    none, half, one = (draw(module, call, call.batch, temperature=t) for t in (0.0, 0.5, 1.0))
    same_values(one, draw(module, call, call.batch), ROUND, "a sample at temperature 1", "that without one")
    if torch.equal(half, one):
        raise Found("sample ignores temperature: samples at 0.5 and 1 are equal")
    same_values(none, none[:1].expand_as(none), tolerance, "a sample at temperature 0", "the first one")
    if hasattr(module, "encode"):
        context = repeated(call, call.batch)
        center, middle, end = (_flat(module.encode(x, *context)) for x in (none, half, one))
        ratio = float((middle - center).flatten() @ (end - center).flatten() / (end - center).square().sum())
        if not abs(ratio - 0.5) < tolerance:
            raise Found(f"the noise of samples at temperature 0.5 is {number(ratio)} times that at 1")
        same_values(middle, center + 0.5 * (end - center), tolerance, "latents at temperature 0.5", "half the noise")


@torch.no_grad()
def check_generator(subject: Subject) -> None:
    """Samples are a function of the generator's state."""
    call, module = subject.calls[0], subject.fresh()
    first = draw(module, call, call.batch)
    same_values(draw(module, call, call.batch), first, ROUND, "a sample of the same generator", "the one before")
    if torch.equal(draw(module, call, call.batch, seed=1), first):
        raise Found("samples of generators with different states are equal")


def _flat(latents: Any) -> Tensor:
    values = [latents] if isinstance(latents, Tensor) else latents
    return torch.cat([value.flatten(1) for value in values], 1)
