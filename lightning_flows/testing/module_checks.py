"""Checks of any module on items of a batch: dtypes, independence, copies, state, devices, compilation."""

import copy

import torch
from torch import Tensor, nn

from lightning_flows.functional.streams import forked
from lightning_flows.testing.compare import ROUND, same_values
from lightning_flows.testing.faults import Found
from lightning_flows.testing.purity import OWN
from lightning_flows.testing.subject import Call, Subject
from lightning_flows.testing.values import copied, mapped

SINGLE = 1e-3
"""Largest relative difference between results in float32 and in float64."""


def same_results(
    found: tuple[Tensor, ...], expected: tuple[Tensor, ...], tolerance: float, call: Call, why: str
) -> None:
    """Raise Found if a result of a call differs from what it was; ``why`` describes the second call."""
    for name, one, other in zip(call.results, found, expected, strict=True):
        same_values(one, other, tolerance, f"{name} of {call.name} {why}", "the one before")


@torch.no_grad()
def check_dtypes(subject: Subject) -> None:
    """Results have the dtype of the first argument, float32 or float64, and nearly the same values."""
    for call in subject.calls:
        exact = call(subject.fresh())
        for dtype in (torch.float64, torch.float32):
            found = call.to(dtype)(subject.fresh(dtype))
            for name, value, expected in zip(call.results, found, exact, strict=True):
                if value.dtype != dtype:
                    raise Found(f"{name} of {call.name} is {value.dtype} instead of {dtype}, that of module and input")
                what = f"{name} of {call.name} in {str(dtype).removeprefix('torch.')}"
                same_values(value.double(), expected, SINGLE, what, "that in float64")


@torch.no_grad()
def check_independence(subject: Subject, tolerance: float) -> None:
    """Items of a batch do not affect each other: one alone, and all in reverse order, have the same results."""
    for call in subject.calls:
        whole, last = call(subject.fresh()), call.batch - 1
        alone = call.of(slice(last, None))(subject.fresh())
        for name, one, other in zip(call.results, alone, whole, strict=True):
            same_values(one, other[last:], tolerance, f"{name} of {call.name} of an item alone", "the one in a batch")
        reverse = torch.arange(last, -1, -1)
        turned = call.of(reverse)(subject.fresh())
        for name, one, other in zip(call.results, turned, whole, strict=True):
            what = f"{name} of {call.name} of a batch in reverse order"
            same_values(one, other[reverse], tolerance, what, "that in order")


@torch.no_grad()
def check_state_dict(subject: Subject) -> None:
    """A module with other values gives the same results once it has loaded the state_dict."""
    module = subject.fresh()
    for prefix, part in module.named_modules():
        for name, value in vars(part).items():
            if name not in OWN and isinstance(value, Tensor):
                full = f"{prefix}.{name}" if prefix else name
                raise Found(f"{full} is a tensor that state_dict() and to() miss: register it as a buffer")
    with forked(0, "testing"):
        twin = subject.fresh() if subject.build is None else subject.build().double().eval()
    for value in nn.Module.state_dict(twin).values():  # all, even if its own method leaves some out
        value.fill_(0.5) if value.is_floating_point() else None
    twin.load_state_dict(module.state_dict())
    for call in subject.calls:
        same_results(call(twin), call(module), ROUND, call, "after loading the state_dict")


def check_deepcopy(subject: Subject) -> None:
    """A copy, made after a backward pass, gives the same results and shares nothing with the original."""
    call, module = subject.calls[0], subject.fresh()
    results = call(module)
    if any(result.requires_grad for result in results):
        torch.autograd.backward([result.sum() for result in results if result.requires_grad])
    twin = copy.deepcopy(module)
    with torch.no_grad():
        same_results(call(twin), results, ROUND, call, "of a deepcopy")
        results = copied(results)  # which may be views of parameters
        for parameter in module.parameters():
            parameter.add_(0.1) if parameter.is_floating_point() else None
        same_results(call(twin), results, ROUND, call, "of a deepcopy, when the original's parameters change,")


@torch.no_grad()
def check_meta(subject: Subject) -> None:
    """The first call works on the meta device: no tensor is elsewhere, and no value is read."""
    call = subject.calls[0]
    expected = call(subject.fresh())
    on_meta = call._replace(arguments=mapped(lambda value: value.to("meta"), call.arguments))
    for name, value, real in zip(call.results, on_meta(subject.fresh().to("meta")), expected, strict=True):
        if value.device.type != "meta":
            raise Found(f"{name} of {call.name} is on {value.device} instead of meta, the device of module and input")
        if value.shape != real.shape:
            raise Found(f"{name} of {call.name} on meta has shape {tuple(value.shape)} instead of {tuple(real.shape)}")


def check_compile(subject: Subject) -> None:
    """torch.compile traces the first call as one graph, with the same results."""
    torch.compiler.reset()
    call, module = subject.calls[0], subject.fresh()
    if call.name != "forward":
        raise Found(f"only calls of a module are compiled; {call.name} is a method")
    compiled: nn.Module = torch.compile(module, fullgraph=True, backend="eager")  # type: ignore[assignment]
    same_results(call(compiled), call(subject.fresh()), 1e-10, call, "when compiled")
