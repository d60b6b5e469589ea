"""Convert constructor arguments of models and data to plain values, and rebuild models and data from them."""

import base64
import dataclasses
import inspect
import sys
import warnings
from collections.abc import Mapping
from datetime import date, datetime
from enum import Enum
from typing import Any

import torch
from jsonargparse import ArgumentParser
from jsonargparse.typing import register_type

from lightning_flows.errors import CheckpointError, FlowsError, UsageError

TRIVIAL = (type(None), bool, int, float, str)

register_type(torch.device, serializer=str, deserializer=torch.device, fail_already_registered=False)
register_type(
    datetime, serializer=datetime.isoformat, deserializer=datetime.fromisoformat, fail_already_registered=False
)
register_type(date, serializer=date.isoformat, deserializer=date.fromisoformat, fail_already_registered=False)


def describe(component: Any) -> dict[str, Any]:
    """Class path and constructor arguments of a module or datamodule, as in a config."""
    kind = type(component)
    accepted = accepted_arguments(kind)
    return {
        "class_path": public_path(kind),
        "init_args": {
            key: plain(value) for key, value in component.hparams.items() if accepted is None or key in accepted
        },
    }


def public_path(kind: type) -> str:
    """Import path of a class: its package if that exports it, so that checkpoints survive a moved file."""
    package = ".".join(kind.__module__.split(".")[:2])
    exported = getattr(sys.modules.get(package), kind.__qualname__, None) is kind
    return f"{package if exported else kind.__module__}.{kind.__qualname__}"


def accepted_arguments(kind: type) -> set[str] | None:
    """Names of the arguments that the constructor of a class accepts; None if it accepts any.

    Arguments that a subclass passes to its base, but does not accept itself, are not part of its description.
    """
    names, is_open = _named_arguments(kind)
    return None if is_open else names


def plain(value: Any) -> Any:
    """Convert a value to numbers, strings, lists and dicts, from which the constructor's annotation restores it.

    >>> plain({"size": (3, torch.float16), "where": torch.device("cpu")})
    {'size': [3, 'torch.float16'], 'where': 'cpu'}
    """
    if isinstance(value, Enum):
        return value.name
    if type(value) in TRIVIAL:
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
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


def construct(kind: type, init_args: Mapping[str, Any]) -> Any:
    """Build a class from plain arguments, converted according to its annotations.

    Raises: CheckpointError if they do not fit the class.
    """
    try:
        return kind(**_typed(kind, init_args))
    except FlowsError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"the arguments in the checkpoint do not fit {kind.__name__} ({reason}): give one of this version"
        ) from error


def check_describable(component: Any, name: str) -> None:
    """Raise UsageError unless all arguments of a model or data survive the conversion to plain values and back."""
    hparams, kind = dict(component.hparams), type(component)
    accepted = accepted_arguments(kind)
    for key, value in hparams.items():
        if (accepted is not None and key not in accepted) or _is_plain(value):
            continue
        try:
            found = _typed(kind, {key: plain(value)})[key]
            same = bool(_canonical(found) == _canonical(value))
        except Exception:
            same = False
        if not same:
            raise UsageError(
                f"{name}.{key} is of {type(value).__module__}.{type(value).__name__}, which {kind.__name__} would not "
                f"get back from a checkpoint: annotate {key} with its type, or let it take numbers, text, lists, dicts"
            )


def _named_arguments(kind: type) -> tuple[set[str], bool]:
    """Names of a constructor's arguments, including those of its bases, and whether it accepts others too."""
    names: set[str] = set()
    for each in kind.__mro__:
        if "__init__" not in vars(each):
            continue
        parameters = inspect.signature(vars(each)["__init__"]).parameters.values()
        names |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind == p.VAR_KEYWORD for p in parameters):
            return names - {"self"}, False
    return names - {"self"}, True


def _typed(kind: type, init_args: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments converted according to the constructor's annotations; unannotated ones are unchanged."""
    parser = ArgumentParser(exit_on_error=False)
    left_out = _named_arguments(kind)[0] - init_args.keys()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        added = parser.add_class_arguments(kind, "it", fail_untyped=False, instantiate=False, skip=left_out)
        known = {name.split(".")[1] for name in added}
        given = {key: value for key, value in init_args.items() if key in known}
        values = parser.instantiate(parser.parse_object({"it": given})).get("it", {})
    return {key: values[key] if key in given else value for key, value in init_args.items()}


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return type(value) in (tuple, list, torch.Size) and all(map(_is_plain, value))
    if type(value) is dict:
        return all(type(key) is str and _is_plain(each) for key, each in value.items())
    return type(value) in TRIVIAL


def _canonical(value: Any) -> Any:
    """Replace plain tuples by lists, as a constructor that accepts one accepts the other."""
    if type(value) in (tuple, list, torch.Size):
        return [_canonical(each) for each in value]
    if type(value) is dict:
        return {key: _canonical(each) for key, each in value.items()}
    return (type(value), value) if isinstance(value, tuple | list) else value
