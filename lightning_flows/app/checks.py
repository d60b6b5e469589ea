"""Settings that are refused before anything is built."""

import inspect
from collections.abc import Mapping
from typing import Any

from jsonargparse import Namespace

from lightning_flows.checkpoints.classes import import_class
from lightning_flows.errors import UsageError


def check_trainer(options: Mapping[str, Any]) -> None:
    """Raise UsageError over a count that Lightning accepts and then divides by."""
    for name in ("accumulate_grad_batches", "check_val_every_n_epoch", "val_check_interval"):
        value = options.get(name)
        if isinstance(value, int | float) and value <= 0:
            raise UsageError(f"{name} is {value}: give a number above 0")


def refuse_null(config: Namespace, section: str) -> None:
    """Refuse null for an argument that does not take it, at any depth; the parser accepts it anywhere.

    Args:
        config: class path and arguments.
        section: where they are in the whole config.
    Raises: UsageError.
    """
    parameters: dict[str, inspect.Parameter] = {}
    for kind in reversed(getattr(import_class(config.class_path), "__mro__", ())):
        parameters |= inspect.signature(kind.__init__).parameters if "__init__" in vars(kind) else {}
    for name, value in vars(config.get("init_args") or Namespace()).items():
        parameter = parameters.get(name)
        optional = parameter is None or parameter.default in (None, inspect.Parameter.empty)
        if value is None and not optional and "None" not in str(parameters[name].annotation):
            raise UsageError(f"{section}.{name} is null: give a value, or leave it out for its default")
        if isinstance(value, Namespace) and "class_path" in value:
            refuse_null(value, f"{section}.{name}")
