"""Gradients of results against finite differences."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_flows.functional.nested_tensors import mapped
from lightning_flows.functional.streams import stream
from lightning_flows.testing.compare import pair
from lightning_flows.testing.faults import Found
from lightning_flows.testing.jacobian import slopes
from lightning_flows.testing.subject import Call, Subject
from lightning_flows.testing.values import tensors

ACCURACY = 1e-4
"""Largest relative difference between a derivative and finite differences."""


def check_gradients(subject: Subject, call: Call) -> None:
    r"""Derivatives of each result r along a direction d of the input, the context and all parameters are right.

    .. math:: \langle \nabla \langle w, r \rangle, d \rangle \approx \langle w, r(v + hd) - r(v - hd) \rangle / 2h

    with fixed random w and d. If that of all parameters is wrong, they are tried one by one, and the first is named.
    """
    module, generator = subject.fresh(), stream(0, "testing of gradients")
    x = call.arguments[0].clone().requires_grad_()
    call = call._replace(arguments=(x, *mapped(_leaf, call.arguments[1:])))
    context = [value for value in tensors(call.arguments[1:]) if value.requires_grad]
    parameters = [(n, p) for n, p in module.named_parameters() if p.requires_grad and p.numel()]

    def drawn(values: Sequence[Tensor]) -> list[Tensor]:
        return [torch.randn(v.shape, generator=generator, dtype=v.dtype) for v in values]

    weights = drawn([result.detach() for result in call(module)])

    def weighted() -> list[Tensor]:
        return [(w * r).sum() for w, r in zip(weights, call(module), strict=True)]

    def compare(names: Sequence[str], values: Sequence[Tensor], *, whole: bool = True) -> str | None:
        directions = drawn(values)
        if not whole:
            directions = [d * _fractional(v) for d, v in zip(directions, values, strict=True)]
        expected = slopes(weighted, values, directions)
        for result, value, slope in zip(call.results, weighted(), expected, strict=True):
            found = _product(value, values, directions)
            if not abs(found - slope) <= ACCURACY * (1 + abs(slope)):
                reason = _reason(value, call) if found == 0 else ""
                return (
                    f"the derivative of {result} with respect to {', '.join(names)} is {pair(found, slope)}, "
                    f"the finite difference{reason}"
                )
        return None

    if message := compare(["the input"], [x]):
        raise Found(message)
    if context and (message := compare(["the context"], context, whole=False)):
        raise Found(message)
    if parameters and (message := compare(["all parameters"], [p for _, p in parameters])):
        for name, parameter in parameters:
            if single := compare([name], [parameter]):
                raise Found(single)
        raise Found(message)


def _leaf(value: Tensor) -> Tensor:
    """A copy with gradients, if any of its values can move."""
    if not value.is_floating_point() or not _fractional(value).any():
        return value
    return value.clone().requires_grad_()


def _fractional(value: Tensor) -> Tensor:
    """Which values are not whole: a step from those of masks, labels or missing edges would change what they mean."""
    return value.detach().frac().abs() > 0


def _reason(value: Tensor, call: Call) -> str:
    """Why a derivative may be zero."""
    if value.requires_grad or call.name == "forward":
        return ": is it detached?"
    return (
        ": is it detached? An iteration under no_grad has derivatives if one more step of Newton's method follows with "
        f"gradients; if none are wanted, skip={{'{call.name}_gradient'}}"
    )


def _product(value: Tensor, inputs: Sequence[Tensor], directions: Sequence[Tensor]) -> float:
    """⟨∇value, directions⟩; 0 if the value has no graph."""
    if not value.requires_grad:
        return 0.0
    gradients = torch.autograd.grad(value, list(inputs), allow_unused=True, retain_graph=True)
    pairs = zip(gradients, directions, strict=True)
    return sum(float(torch.where(d == 0, 0.0, g * d).sum()) for g, d in pairs if g is not None)
