"""Checks that a call changes nothing: module, arguments, global generators and settings."""

from itertools import product

import torch
from torch import nn

from lightning_flows.testing.compare import ROUND, same_values
from lightning_flows.testing.faults import Found
from lightning_flows.testing.state import OUTSIDE, Reach, difference, state
from lightning_flows.testing.subject import Subject
from lightning_flows.testing.surroundings import generators, otherwise, reseeded, restored, settings
from lightning_flows.testing.values import copied, tensors

MODES = {" in eval mode": False, " in train mode": True}


@torch.no_grad()
def check_repeatable(subject: Subject) -> None:
    """The second of two calls returns the same numbers."""
    for call in subject.calls:
        module = subject.fresh()
        first, second = copied(call(module)), call(module)
        for name, one, other in zip(call.results, first, second, strict=True):
            same_values(other, one, ROUND, f"{name} of a second call of {call.name} in eval mode", "the first")


@torch.no_grad()
def check_state(subject: Subject) -> None:
    """Parameters, buffers and all other values that the module refers to stay as they are.

    The second call has other arguments, which show in a cache; classes and globals are also compared with what they
    were before any call.
    """
    for call in subject.calls:
        module = subject.fresh()
        before = state(module)
        for each in (call, call.of(slice(1, None))):
            each(module)
            after = state(module)
            if change := difference(before, after):
                raise Found(f"{call.name} in eval mode {change}")
            before = after
    names = " or ".join(call.name for call in subject.calls)
    if change := difference(subject.outside, outside(subject.module)):
        raise Found(f"{names} in eval mode {change}")


def outside(module: nn.Module) -> dict[str, object]:
    """Values of classes, closures and globals, which copies of the module share."""
    return {name: value for name, value in state(module).items() if name.startswith(OUTSIDE)}


@torch.no_grad()
def check_arguments(subject: Subject) -> None:
    """Arguments are not changed in place: neither their values nor containers of them."""
    for call, mode in product(subject.calls, MODES):
        own = call._replace(arguments=copied(call.arguments))
        before = Reach(own.arguments, "arguments", functions=False).values
        own.direct(subject.fresh().train(MODES[mode]), own.arguments)
        for now, value in zip(tensors(own.arguments), tensors(call.arguments), strict=False):
            if now.shape == value.shape and now.is_floating_point() and now.ndim:
                same_values(now, value, 0.0, f"an argument of {call.name}, after the call{mode},", "itself before")
        if change := difference(before, Reach(own.arguments, "arguments", functions=False).values):
            raise Found(f"{call.name}{mode} {change}")


@torch.no_grad()
def check_random(subject: Subject) -> None:
    """Global generators of torch, Python and NumPy are neither used in eval mode nor seeded in any."""
    for call, mode in product(subject.calls, MODES):
        states = []
        for number in range(2):
            module = subject.fresh().train(MODES[mode])
            with reseeded(number):
                before = generators()
                call(module)
                states.append((before, generators()))
        for name, value in states[0][0].items():
            after, other = states[0][1][name], states[1][1].get(name)
            if after == other:
                raise Found(f"{call.name}{mode} seeds the global generator of {name}")
            if after != value and not MODES[mode]:
                raise Found(f"{call.name}{mode} draws random numbers from the global generator of {name}")


def check_settings(subject: Subject) -> None:
    """Global settings of torch and NumPy stay as they are, whatever they are."""
    for call, mode, situation in product(subject.calls, MODES, (restored, otherwise)):
        module = subject.fresh().train(MODES[mode])
        with situation():
            before = settings()
            call(module)
            after = settings()
        for name, value in before.items():
            if value != after[name]:
                raise Found(f"{call.name}{mode} changes the {name} of the process from {value} to {after[name]}")


@torch.no_grad()
def check_memory(subject: Subject) -> None:
    """A result that is changed in place changes neither the module nor other results; it may be a view of an argument.

    Results that cannot be changed in place, such as those expanded from a single number, pass.
    """
    for call in subject.calls:
        for index, name in enumerate(call.results):
            module = subject.fresh()
            results = call._replace(arguments=copied(call.arguments))(module)
            others, before = copied(results), state(module)
            try:
                results[index].add_(1)
            except RuntimeError:  # more than one value in a place
                continue
            if change := difference(before, state(module)):
                raise Found(f"{name} of {call.name} shares memory with the module: a change in place of it {change}")
            for other, (value, expected) in enumerate(zip(results, others, strict=True)):
                if other != index and difference({name: expected}, {name: value}):
                    raise Found(f"{name} and {call.results[other]} of {call.name} share memory: return a copy of one")
