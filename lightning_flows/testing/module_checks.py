"""Checks of any module on items of a batch: dtypes, independence, copies, state, devices, compilation."""

import copy

import torch
from torch import Tensor, nn

from lightning_flows.functional.nested_tensors import mapped
from lightning_flows.functional.streams import forked
from lightning_flows.testing.compare import ROUND, same_values
from lightning_flows.testing.faults import Found, raised
from lightning_flows.testing.state import Reach, recomputed
from lightning_flows.testing.subject import Call, Subject
from lightning_flows.testing.values import copied

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
def check_state_dict(subject: Subject) -> None:
    """A module with other values gives the same results once it has loaded the state_dict."""
    module = subject.fresh()
    registered = {id(value) for value in [*module.parameters(), *module.buffers()]}
    derived = recomputed(module)
    for name, value in Reach(module, functions=False).tensors.items():
        if id(value) not in registered and name not in derived:
            raise Found(f"{name} is a tensor that state_dict() and to() miss: register it as a buffer")
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
    try:
        twin = copy.deepcopy(module)
    except RuntimeError as error:
        if not (names := recomputed(module)):
            raise
        raise Found(
            f"it cannot be copied after a call, since a hook stores {min(names)} with its graph: use "
            "torch.nn.utils.parametrizations, or skip={'deepcopy'}"
        ) from error
    with torch.no_grad():
        same_results(call(twin), results, ROUND, call, "of a deepcopy")
        results = copied(results)  # which may be views of parameters
        for parameter in module.parameters():
            parameter.add_(0.1) if parameter.is_floating_point() else None
        same_results(call(twin), results, ROUND, call, "of a deepcopy, when the original's parameters change,")


@torch.no_grad()
def check_meta(subject: Subject) -> None:
    """Calls work on the meta device: no tensor is elsewhere, and the first call reads no value.

    Others, such as iterative inverses, are followed up to the first value that they read. Modules of torch.jit.script
    cannot be moved to the meta device and are not checked.
    """
    if any(isinstance(part, torch.jit.ScriptModule) for part in subject.module.modules()):
        return
    for call in subject.calls:
        expected = call(subject.fresh())
        on_meta = call._replace(arguments=mapped(lambda value: value.to("meta"), call.arguments))
        module = subject.fresh().to("meta")
        try:
            found = on_meta(module)
        except Exception as error:
            if call is not subject.calls[0] and reads_a_value(error):
                continue
            raise Found(f"{call.name} {raised(error)}") from error
        for name, value, real in zip(call.results, found, expected, strict=True):
            if value.device.type != "meta":
                raise Found(
                    f"{name} of {call.name} is on {value.device} instead of meta, the device of module and input"
                )
            if value.shape != real.shape:
                raise Found(f"{name} of {call.name} on meta has shape {tuple(value.shape)} not {tuple(real.shape)}")


def reads_a_value(error: Exception) -> bool:
    """Whether an error on the meta device comes from reading a value, which is none of device placement."""
    return isinstance(error, NotImplementedError) or "called on meta" in str(error) or "convert meta" in str(error)


def check_compile(subject: Subject) -> None:
    """torch.compile traces the first call as one graph, with the same results."""
    torch.compiler.reset()
    call, module = subject.calls[0], subject.fresh()
    if call.name != "forward":
        raise Found(f"only calls of a module are compiled; {call.name} is a method")
    compiled: nn.Module = torch.compile(module, fullgraph=True, backend="eager")  # type: ignore[assignment]
    same_results(call(compiled), call(subject.fresh()), 1e-10, call, "when compiled")
