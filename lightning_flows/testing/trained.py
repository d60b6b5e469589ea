"""Measurements of a trained flow or VAE, each with the limit that it must not exceed."""

import copy
import math
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_flows.functional.importance import LikelihoodEstimate
from lightning_flows.functional.streams import stream
from lightning_flows.nets.spectral_norm import SLACK, SpectralNorm
from lightning_flows.testing.crops import crop, fixed_size, for_crop
from lightning_flows.testing.jacobian import MAX_VALUES, log_abs_dets
from lightning_flows.transforms.vector import Standardize

RELATIVE = "relative to it, or to 1 nat if that is larger"
STEPS = 100
"""Steps of the power iterations that measure norms."""


class Measurement(NamedTuple):
    """A number in a unit and its limit; a number of None was not measured, for the reason given as ``unit``."""

    name: str
    value: float | None
    limit: float
    unit: str

    @property
    def passes(self) -> bool:
        return self.value is None or self.value <= self.limit  # not if it is NaN


def audit_flow(flow: Any, num: int, seed: int, max_values: int = MAX_VALUES) -> Iterator[Measurement]:
    """Measure a flow in eval mode at ``num`` of its own samples; it is not changed.

    In units of the data, or in standard deviations where the flow standardizes them: the round trip in float32 and
    float64. In nats: the log-density in float32 against float64, per value; forward and inverse log-determinants, whose
    sum is zero; the log-determinant of each level against that of its autograd Jacobian, for one sample, or for a crop
    of it with at most ``max_values`` values.
    """
    exact = copy.deepcopy(flow).double().eval()
    std = next((layer.std for layer in exact.modules() if isinstance(layer, Standardize)), None)
    scale, unit = (flow.scale, "units of the data") if std is None else (1.0, "standard deviations of the data")
    with torch.no_grad():
        x = exact.sample(num, generator=stream(seed, "audit"), accuracy="exact")
        for dtype, limit in ((torch.float32, 2e-3), (torch.float64, 1e-8)):
            back = exact.decode(exact.encode(x), accuracy="exact") if dtype == torch.float64 else _single(flow, x)
            error = float(((back.double() - x) / (1.0 if std is None else std)).abs().max())
            yield Measurement(f"round trip, {_name(dtype)}", error, limit * scale, unit)
        log_prob = exact.log_prob(x)
        found = copy.deepcopy(flow).float().eval().log_prob(x.float()).double()
        values = math.prod(flow.event_shape)
        error = float((found - log_prob).abs().max()) / values
        yield Measurement("log-density, float32 against float64", error, 1e-2, "nats per value")
    yield from _levels(exact, x[:1], max_values)


def _single(flow: Any, x: Tensor) -> Tensor:
    single = copy.deepcopy(flow).float().eval()
    return single.decode(single.encode(x.float()), accuracy="exact")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _moved(level: nn.Module, x: Tensor) -> Tensor:
    return level(x)[0]


def _levels(flow: Any, x: Tensor, max_values: int) -> Iterator[Measurement]:
    """Log-determinants of each level at what the levels before it make of x."""
    for number, level in enumerate(flow.levels, start=1):
        with torch.no_grad():
            z, log_det = level(x)
            back = level.inverse(z)[1]
        scale = max(1.0, float(log_det.abs().max()))
        error = float((log_det + back).abs().max()) / scale
        name = f"level {number} ({_shape(x)}): log-determinant against the inverse's"
        yield Measurement(name, error, 1e-6, RELATIVE)
        yield _against_autograd(level, x, max_values, number)
        x = z.tensor_split([z.shape[1] // 2], dim=1)[0] if number < len(flow.levels) else z


def _shape(x: Tensor) -> str:
    return " x ".join(map(str, x.shape[1:]))


def _against_autograd(level: nn.Module, x: Tensor, max_values: int, number: int) -> Measurement:
    """The log-determinant against that of the autograd Jacobian, of a crop of x if it has too many values."""
    size, part, name = x[0].numel(), x, "level {} ({}): log-determinant against autograd"
    if size > max_values:
        found = crop(x, max_values)
        level = level if found is None else for_crop(level, x.shape[2] // found.shape[2])
        reason = "" if found is None else fixed_size(level, found)
        if found is None or reason:
            why = f", and {reason} fixes the size of images" if reason else ""
            unit = f"not measured: {size:,} values exceed max_values{why}"
            return Measurement(name.format(number, _shape(x)), None, 1e-6, unit)
        part = found
    with torch.no_grad():
        log_det = level(part)[1]
    expected = log_abs_dets(partial(_moved, level), part)
    error = float((log_det - expected).abs().max()) / max(1.0, float(log_det.abs().max()))
    shape = _shape(x) if part is x else f"{_shape(x)}, cropped to {_shape(part)}"
    return Measurement(name.format(number, shape), error, 1e-6, RELATIVE)


@torch.no_grad()
def audit_norms(model: nn.Module, *arguments: Any) -> Iterator[Measurement]:
    """The largest norm of the weights that a call of the model normalizes, relative to their bounds.

    Norms are measured by many steps of the power iteration from a random vector, in float64; power iterations approach
    them from below, so the limit is above 1. Nothing is measured if no layer is normalized.
    """
    norms: list[float] = []

    def measure(module: SpectralNorm, _: Any, weight: Tensor) -> None:
        constants, generator = module.constants, stream(len(norms), "norms")
        start = torch.randn(module.vector.shape, generator=generator, dtype=torch.float64)
        matrix = constants.matrix(weight.double())
        vector = constants.iterate(matrix, constants.unit(start, start), STEPS)
        squares = (vector * constants.power(matrix, vector)).reshape(constants.groups, -1).sum(1)
        norms.append(float(squares.max().sqrt()) / module.max_norm)

    twin = copy.deepcopy(model).eval()
    hooks = [m.register_forward_hook(measure) for m in twin.modules() if isinstance(m, SpectralNorm)]
    if hooks:
        twin(*arguments)
        yield Measurement(f"largest of {len(norms)} norms", max(norms, default=0.0), SLACK, "relative to its bound")


def audit_bound(estimate: LikelihoodEstimate) -> Measurement:
    """By how much a bound on the log-likelihood exceeds its estimate, in nats: at most 0 but for round-off."""
    excess = float((estimate.bound - estimate.log_likelihood).max())
    return Measurement("bound − likelihood", excess, 1e-6, "nats")


def audit_posterior(vae: Any, x: Tensor, seed: int, max_values: int = MAX_VALUES) -> Iterator[Measurement]:
    r"""The posterior's :math:`\log q(z \mid x)` against that of its noise and the autograd Jacobian, for one image."""
    exact = copy.deepcopy(vae).double().eval()
    if exact.latent_size > max_values:
        yield Measurement("log q against autograd", None, 1e-6, f"not measured: {exact.latent_size:,} latents")
        return
    with torch.no_grad():
        encoding = exact.encode(x[:1])
        noise = torch.randn(1, exact.latent_size, generator=stream(seed, "audit of latents"), dtype=torch.float64)
        log_q = exact.posterior(*encoding, noise)[1]
    log_det = log_abs_dets(lambda value: exact.posterior(*encoding, value)[0], noise)
    log_noise = -0.5 * (noise.square() + math.log(2 * math.pi)).sum(1)
    yield Measurement("log q against autograd", float((log_q - log_noise + log_det).abs().max()), 1e-6, "nats")
