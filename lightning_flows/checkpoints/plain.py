"""Describe components by class paths and plain values, as in a config, and rebuild them."""

import base64
import dataclasses
import inspect
import warnings
from collections.abc import Callable, Mapping
from datetime import date, datetime
from enum import Enum
from functools import partial
from typing import Any

import torch
from jsonargparse import ArgumentParser
from jsonargparse.typing import register_type

from lightning_flows.checkpoints.classes import find_class, public_path
from lightning_flows.checkpoints.forms import is_component
from lightning_flows.errors import CheckpointError, FlowsError, UsageError, shortened
from lightning_flows.functional.recorded import Recorded

TRIVIAL = (type(None), bool, int, float, str)

for kind, back in ((torch.device, torch.device), (datetime, datetime.fromisoformat), (date, date.fromisoformat)):
    register_type(kind, serializer=getattr(kind, "isoformat", str), deserializer=back, fail_already_registered=False)


def describe(component: Any) -> dict[str, Any]:
    """Return class path and constructor arguments of a module, a flow or data, as in a config.

    >>> from lightning_flows.flows import AutoregressiveFlow
    >>> found = describe(AutoregressiveFlow((2,), num_layers=1))
    >>> found["class_path"], found["init_args"]["num_layers"], found["init_args"]["activation"]
    ('lightning_flows.flows.AutoregressiveFlow', 1, 'silu')
    """
    return {"class_path": public_path(type(component)), "init_args": plain(arguments_of(component))}


def arguments_of(component: Any) -> dict[str, Any]:
    """Return the arguments of a component's constructor, without those that a subclass sets for its base."""
    if isinstance(component, Recorded):
        return component.init_args
    names, is_open = named_arguments(type(component))
    return {key: value for key, value in component.hparams.items() if is_open or key in names}


def described_class(value: Any) -> tuple[type, dict[str, Any]] | None:
    """Return the class that a factory builds, and bound arguments; None unless it is a class or a partial of one."""
    if isinstance(value, type):
        return value, {}
    kinds = [each for each in (value.func, *value.args) if isinstance(each, type)] if isinstance(value, partial) else []
    return (kinds[0], value.keywords) if len(kinds) == 1 else None


def plain(value: Any) -> Any:
    """Convert a value to numbers, strings, lists and dicts, from which the constructor's annotation restores it.

    Flows, dequantizations, posteriors, classes and partials of classes become their class path and arguments, without
    those that their owner passes to them, such as the ``event_shape``.

    >>> plain({"size": (3, torch.float16), "where": torch.device("cpu")})
    {'size': [3, 'torch.float16'], 'where': 'cpu'}
    >>> plain(partial(torch.optim.Adam, lr=0.1))
    {'class_path': 'torch.optim.Adam', 'init_args': {'lr': 0.1}}
    """
    if isinstance(value, Enum):
        return value.name
    if type(value) in TRIVIAL:
        return value
    if isinstance(value, Recorded):
        arguments = {key: each for key, each in value.init_args.items() if key not in value.set_by_owner}
        return {"class_path": public_path(type(value)), "init_args": plain(arguments)}
    if (found := described_class(value)) is not None:
        return {"class_path": public_path(found[0]), "init_args": plain(found[1])}
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init}
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else str(key): plain(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(each) for each in value), key=repr)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, date):
        return value.isoformat()
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        return plain(value.item())
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return str(value)


def construct(kind: type, init_args: Mapping[str, Any], find: Callable[[str], type] = find_class) -> Any:
    """Build a class from plain arguments, converted according to its annotations; components become partials.

    Args:
        kind: class to build.
        init_args: its arguments, as in :func:`describe`.
        find: returns the class at a class path in the arguments, or raises an error.

    Raises: CheckpointError if they do not fit the class.

    >>> from lightning_flows.flows import AutoregressiveFlow
    >>> recorded = describe(AutoregressiveFlow((2,), num_layers=1))
    >>> construct(AutoregressiveFlow, recorded["init_args"]).init_args["num_layers"]
    1
    """
    try:
        return kind(**_typed(kind, init_args, find))
    except FlowsError:
        raise
    except Exception as error:
        reason = shortened(str(error))
        raise CheckpointError(
            f"the arguments in the checkpoint do not fit {kind.__name__} ({reason}): use a checkpoint of this version"
        ) from error


def check_describable(component: Any, name: str) -> None:
    """Raise UsageError unless all arguments of a module or data survive conversion to plain values and back."""
    _check_arguments(type(component), arguments_of(component), name)


def _check_arguments(kind: type, arguments: Mapping[str, Any], name: str) -> None:
    for key, value in arguments.items():
        if isinstance(value, Recorded):
            _check_arguments(type(value), value.init_args, f"{name}.{key}")
        elif (found := described_class(value)) is not None:
            _check_arguments(*found, f"{name}.{key}")
        elif not _is_plain(value):
            try:
                same = bool(_canonical(_typed(kind, {key: plain(value)})[key]) == _canonical(value))
            except Exception:
                same = False
            if not same:
                raise UsageError(
                    f"{name}.{key} is of {type(value).__module__}.{type(value).__name__}, which {kind.__name__} cannot "
                    f"restore from a checkpoint: annotate {key} with its type, pass a class or functools.partial "
                    "of a class instead of a function, or use numbers, strings, lists, dicts"
                )


def named_arguments(kind: type) -> tuple[set[str], bool]:
    """Return names of a constructor's arguments, including those of its bases, and whether it accepts any others."""
    names: set[str] = set()
    for each in kind.__mro__:
        if "__init__" not in vars(each):
            continue
        parameters = inspect.signature(vars(each)["__init__"]).parameters.values()
        names |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind == p.VAR_KEYWORD for p in parameters):
            return names - {"self"}, False
    return names - {"self"}, True


def _typed(kind: type, init_args: Mapping[str, Any], find: Callable[[str], type] = find_class) -> dict[str, Any]:
    """Convert arguments according to the constructor's annotations; unannotated ones are unchanged."""
    typed: dict[str, Any] = dict(init_args)
    for key, value in init_args.items():
        if is_component(value):
            inner = find(value["class_path"])
            typed[key] = partial(inner, **_typed(inner, value.get("init_args", {}), find))
    parser = ArgumentParser(exit_on_error=False)
    convertible = {key: value for key, value in init_args.items() if not is_component(value)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        left_out = named_arguments(kind)[0] - convertible.keys()
        added = parser.add_class_arguments(kind, "it", fail_untyped=False, instantiate=False, skip=left_out)
        known = {name.split(".")[1] for name in added} & convertible.keys()
        given = {key: convertible[key] for key in known}
        instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes  # before jsonargparse 4.49
        values = instantiate(parser.parse_object({"it": given})).get("it", {})
    return typed | {key: values[key] for key in known}


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return type(value) in (tuple, list, torch.Size) and all(map(_is_plain, value))
    if type(value) is dict:
        return all(type(key) is str and _is_plain(each) for key, each in value.items())
    return type(value) in TRIVIAL


def _canonical(value: Any) -> Any:
    """Replace plain tuples by lists: a constructor that accepts one accepts the other."""
    if type(value) in (tuple, list, torch.Size):
        return [_canonical(each) for each in value]
    if type(value) is dict:
        return {key: _canonical(each) for key, each in value.items()}
    return (type(value), value) if isinstance(value, tuple | list) else value
