"""Structure of a checkpoint: limits on depth and size of its values, and the record of model and data."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from packaging.version import InvalidVersion, Version
from torch import Tensor

from lightning_flows.errors import CheckpointError
from lightning_flows.functional.nested import leaves

MAX_DEPTH = 40
MAX_VALUES = 2_000_000
MAX_TENSOR_BYTES = 64 * 2**20
MAX_RECORD_VALUES = 10_000
"""Limits of a checkpoint: levels of nesting, total number of values, bytes of a tensor that is larger than the file,
and values in the record of model and data."""

CLASS_PATH = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)+")
COMPONENTS = frozenset(["flow", "dequantization", "optimizer", "lr_scheduler"])
"""Arguments of a module that are components."""
PLAIN = (type(None), bool, int, float, str)


def is_component(value: Any) -> bool:
    """Whether a plain value describes a component."""
    return isinstance(value, Mapping) and "class_path" in value


def components(value: Any, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield all components in a plain value, outer ones first, with names such as ``model.flow``."""
    if is_component(value):
        yield name, value
        value = value.get("init_args")
    if isinstance(value, Mapping | list | tuple):
        for key, each in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from components(each, f"{name}.{key}")


def check_values(checkpoint: Mapping[str, Any], path: str, file_size: int) -> None:
    """Raise CheckpointError unless all tensors are dense, on the CPU and no larger than the file or the limit."""
    largest = max(file_size, MAX_TENSOR_BYTES)
    for value in _leaves(checkpoint, path, MAX_VALUES):
        if not isinstance(value, Tensor):
            continue
        if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu" or value.is_nested:
            raise CheckpointError(
                f"{path} contains a tensor that is sparse, quantized or without data: only dense tensors can be loaded"
            )
        if value.numel() * value.element_size() > largest:
            raise CheckpointError(
                f"{path} claims a tensor of {value.numel() * value.element_size():,} bytes, more than the file: "
                "use a checkpoint that fit wrote"
            )


def check_training(checkpoint: Mapping[str, Any], path: str = "the checkpoint") -> None:
    """Raise CheckpointError unless the entries that Lightning reads have the structure it writes."""
    problem = _training_problem(checkpoint)
    if problem:
        raise CheckpointError(f"{path} has {problem}: use a checkpoint that fit wrote")


def check_record(checkpoint: Mapping[str, Any], path: str = "the checkpoint") -> None:
    """Raise CheckpointError unless a checkpoint describes its model and data as fit does."""
    if "lightning_flows" not in checkpoint:
        raise CheckpointError(f"{path} was not written by lightning_flows: use a checkpoint that fit wrote")
    record = checkpoint["lightning_flows"]
    strange = next((each for each in _leaves(record, path, MAX_RECORD_VALUES) if not isinstance(each, PLAIN)), None)
    problem = f"a {type(strange).__name__} in its record" if strange is not None else _record_problem(record)
    if problem:
        raise CheckpointError(f"{path} has {problem}: use a checkpoint that fit wrote")


def same_form(template: Any, value: Any, *, whole: bool = True) -> bool:
    """Whether a value has the keys and types of the template; extra keys, and values where it has None, may be any.

    With ``whole=False``, a float may take the place of an int in the template.

    >>> same_form({"step": 0}, {"step": 3, "more": "x"}), same_form({"step": 0}, {"step": "3"})
    (True, False)
    """
    if template is None:
        return True
    if isinstance(template, Mapping):
        return isinstance(value, Mapping) and all(
            key in value and same_form(each, value[key], whole=whole) for key, each in template.items()
        )
    if isinstance(template, bool):
        return isinstance(value, bool)
    if isinstance(template, int):
        return isinstance(value, int if whole else int | float) and -(2**53) < value < 2**53
    if isinstance(template, Tensor) and template.numel() > 1:
        return isinstance(value, Tensor) and value.shape == template.shape
    if isinstance(template, float | Tensor):
        return isinstance(value, int | float) or (isinstance(value, Tensor) and value.numel() == 1)
    if isinstance(template, str):
        return isinstance(value, str)
    if isinstance(template, list | tuple):
        if not isinstance(value, list | tuple):
            return False
        if template and isinstance(template[0], Mapping):
            return all(each is None or isinstance(each, Mapping) for each in value)
        numbers = bool(template) and isinstance(template[0], int | float)
        return not numbers or (
            len(value) == len(template) and all(same_form(template[0], each, whole=whole) for each in value)
        )
    return True


def _training_problem(checkpoint: Mapping[str, Any]) -> str | None:
    if not all(isinstance(key, str) for key in checkpoint):
        return "a key that is not a string"
    state = checkpoint.get("state_dict")
    if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
        return "no state_dict of tensors"
    strange = [
        key for key, value in state.items() if not isinstance(value, Tensor) and not key.endswith("_extra_state")
    ]
    if strange:
        return f"no tensor at {strange[0][:80]!r} in its state_dict"
    for key in ("epoch", "global_step"):
        if (
            not same_form(0, checkpoint.get(key, 0))
            or isinstance(checkpoint.get(key), bool)
            or checkpoint.get(key, 0) < 0
        ):
            return f"no integer {key}"
    try:
        if Version(checkpoint.get("pytorch-lightning_version", "2")) < Version("2"):
            return "the format of an older Lightning"
    except (TypeError, InvalidVersion):
        return "no version of Lightning"
    kinds = {"loops": Mapping, "callbacks": Mapping, "optimizer_states": list, "lr_schedulers": list}
    for key, kind in kinds.items():
        if key in checkpoint and not isinstance(checkpoint[key], kind):
            return f"a malformed {key}"
    parts = [*checkpoint.get("optimizer_states", []), *checkpoint.get("lr_schedulers", [])]
    if not all(isinstance(part, Mapping) for part in parts):
        return "malformed optimizer_states or lr_schedulers"
    factors = [part.get("lr_lambdas", []) for part in checkpoint.get("lr_schedulers", [])]
    if not all(isinstance(each, list) and all(f is None or isinstance(f, Mapping) for f in each) for each in factors):
        return "malformed lr_schedulers"
    return None


def _record_problem(record: Any) -> str | None:
    if not isinstance(record, Mapping):
        return "no record of its model"
    version = record.get("version", "0")
    if not isinstance(version, str) or not re.fullmatch(r"[\w.+!-]{1,40}", version):
        return "no version in its record"
    if not isinstance(record.get("seed_everything"), int | None) or isinstance(record.get("seed_everything"), bool):
        return "no integer seed"
    for name in ("model", "data"):
        if name not in record and name == "data":
            continue
        if not is_component(record.get(name)):
            return f"no class and arguments of its {name} in its record"
        for place, component in components(record[name], name):
            class_path, arguments = component["class_path"], component.get("init_args")
            if not isinstance(class_path, str) or len(class_path) > 300 or not CLASS_PATH.fullmatch(class_path):
                return f"no class path of its {place} in its record"
            if not isinstance(arguments, Mapping) or not all(
                isinstance(k, str) and k.isidentifier() for k in arguments
            ):
                return f"no arguments of its {place} in its record"
    arguments = record["model"]["init_args"]
    for name in COMPONENTS & arguments.keys():
        if arguments[name] is not None and not is_component(arguments[name]):
            return f"no class and arguments of its model.{name} in its record"
    shape = arguments.get("event_shape")
    if not isinstance(shape, list | tuple) or not 1 <= len(shape) <= 8:
        return "no event_shape of its model in its record"
    if any(type(n) is not int or n < 1 for n in shape) or math.prod(shape) > 2**31:
        return "no event_shape of its model in its record"
    return None


def _leaves(value: Any, path: str, most: int) -> Iterator[Any]:
    problem = (
        f"{path} is nested more than {MAX_DEPTH} levels deep or contains more than {most:,} values: use a "
        "checkpoint that fit wrote"
    )
    return leaves(value, MAX_DEPTH, most, CheckpointError(problem))
