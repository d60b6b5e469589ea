"""Checks of the members of a transform that Compose and Flow use besides forward and inverse."""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from lightning_flows.testing.compare import same_values
from lightning_flows.testing.faults import Found
from lightning_flows.testing.state import difference, state
from lightning_flows.testing.subject import Subject
from lightning_flows.testing.values import copied
from lightning_flows.transforms.base import Transform
from lightning_flows.transforms.compose import Invert


def member_checks(transform: nn.Module, subject: Subject, tolerance: float) -> dict[str, Callable[[], None]]:
    """The checks of those members that a transform has."""
    checks: dict[str, Callable[[], None]] = {}
    if getattr(transform, "volume_preserving", False):
        checks["volume_preserving"] = partial(_check_volume, subject, tolerance)
    if hasattr(transform, "forward_reported") or hasattr(transform, "inverse_reported"):
        checks["reported"] = partial(_check_reported, subject, tolerance)
    if hasattr(transform, "decode"):
        checks["decode"] = partial(_check_decode, subject, tolerance)
    if hasattr(transform, "output_shape") or hasattr(transform, "latent_shape"):
        checks["shapes_of_events"] = partial(_check_shapes, subject)
    # others, and those with an inverted layer, may initialize themselves in either direction
    if isinstance(transform, Transform) and not any(isinstance(each, Invert) for each in transform.modules()):
        checks["inverse_state"] = partial(_check_inverse_state, subject)
    return checks


@torch.no_grad()
def _check_volume(subject: Subject, tolerance: float) -> None:
    """Log-determinants are zero: Compose leaves them out."""
    for call in subject.calls:
        log_det = call(subject.fresh())[1]
        what = f"log_det of {call.name}"
        same_values(log_det, torch.zeros_like(log_det), tolerance, what, "that of volume_preserving = True")


@torch.no_grad()
def _check_reported(subject: Subject, tolerance: float) -> None:
    """Results with reports are those without."""
    for call in subject.calls:
        name = f"{call.name}_reported"
        if (method := getattr(subject.fresh(), name, None)) is None:
            continue
        found, names = method(*copied(call.arguments)), ", ".join(call.results)
        if not isinstance(found, tuple) or len(found) != 3:
            got = f"{len(found)} values" if isinstance(found, tuple) else type(found).__name__
            raise Found(f"{name} returns {got} instead of {names} and a list of reports")
        for result, value, expected in zip(call.results, found, call(subject.fresh()), strict=False):
            same_values(value, expected, tolerance, f"{result} of {name}", f"that of {call.name}")


@torch.no_grad()
def _check_decode(subject: Subject, tolerance: float) -> None:
    """Decoding without the log-determinant is the inverse."""
    inverse = subject.calls[1]
    found = subject.fresh().decode(*copied(inverse.arguments))
    same_values(found, inverse(subject.fresh())[0], tolerance, "x of decode", "that of inverse")


def _check_shapes(subject: Subject) -> None:
    """Shapes of z that are computed without it, in which None stands for any length."""
    module, (event, latent) = subject.fresh(), (tuple(call.event) for call in subject.calls)
    shapes = {"latent_shape": getattr(module, "latent_shape", None)}
    if callable(output_shape := getattr(module, "output_shape", None)):
        shapes[f"output_shape({event})"] = tuple(output_shape(event))
    for name, shape in shapes.items():
        if shape is None:
            continue
        if len(shape) != len(latent) or any(n not in (None, m) for n, m in zip(shape, latent, strict=True)):
            raise Found(f"{name} is {tuple(shape)} instead of {latent}, that of z")


@torch.no_grad()
def _check_inverse_state(subject: Subject) -> None:
    """An inverse changes no state in train mode either, in none of its variants."""
    for name in ("inverse", "inverse_reported", "decode"):
        module = subject.fresh().train()
        before = state(module)
        getattr(module, name)(*copied(subject.calls[1].arguments))
        if change := difference(before, state(module)):
            raise Found(f"{name} in train mode {change}")
