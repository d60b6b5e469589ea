"""Classes that a checkpoint may name: from lightning_flows and torch.optim, and those that the user names."""

import importlib
import inspect
import sys
from collections.abc import Iterable
from typing import Any

from lightning.pytorch import LightningDataModule
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lightning_flows.errors import CheckpointError
from lightning_flows.trust import vetted_imports, why_missing

COMPONENTS = (nn.Module, LightningDataModule, Optimizer, LRScheduler)
TRUSTED = ("lightning_flows.", "torch.optim.", "lightning.pytorch.cli.ReduceLROnPlateau")

Named = str | type | Iterable[str | type] | None
"""Classes that the user names, as classes or paths; a string may contain several paths, separated by commas."""


def public_path(kind: type) -> str:
    """Import path of a class, from its package if that exports it, so that checkpoints survive moved files.

    >>> from lightning_flows.flows import ResidualFlow
    >>> public_path(ResidualFlow)
    'lightning_flows.flows.ResidualFlow'
    """
    package = ".".join(kind.__module__.split(".")[:2])
    exported = getattr(sys.modules.get(package), kind.__qualname__, None) is kind
    return f"{package if exported else kind.__module__}.{kind.__qualname__}"


def import_class(path: str) -> Any:
    """Import the object at a class path; None if it does not exist."""
    module_name, _, class_name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module_name), class_name, None) if module_name else None
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            return None
        raise


def is_trusted(class_path: str) -> bool:
    """Whether a class path may be imported without the user's permission."""
    return class_path.startswith(TRUSTED)


def find_class(class_path: str, named: Named = None, option: str = "model") -> type:
    """Import the class at a path from a checkpoint.

    Args:
        class_path: the path.
        named: classes that the user names, from any package.
        option: option with which the command line names the class, for the error.

    Raises: CheckpointError if it is neither trusted nor named, or does not exist.

    >>> find_class("lightning_flows.flows.ResidualFlow")
    <class 'lightning_flows.flows.residual.ResidualFlow'>
    """
    own = {public_path(kind): kind for kind in named_classes(named)}
    if class_path in own:
        return own[class_path]
    if not is_trusted(class_path):
        raise not_permitted(class_path, own, option)
    kind = import_class(class_path)
    if not inspect.isclass(kind) or not issubclass(kind, COMPONENTS) or not is_trusted(public_path(kind)):
        raise CheckpointError(
            f"the checkpoint contains {class_path}, which this version of lightning_flows lacks: use the version that "
            "wrote it, or retrain"
        )
    return kind


def named_classes(named: Named) -> list[type]:
    """The classes that the user names. Raises: CheckpointError if one cannot be imported."""
    found = []
    for each in [named] if isinstance(named, str | type) else named or ():
        for path in each.split(",") if isinstance(each, str) else [each]:
            with vetted_imports([f"--model={path}"]):
                kind = import_class(path.strip()) if isinstance(path, str) else path
            if not inspect.isclass(kind):
                raise CheckpointError(why_missing(path.strip()) if isinstance(path, str) else f"{path} is not a class")
            found.append(kind)
    return found


def not_permitted(class_path: str, named: Iterable[str] = (), option: str = "model") -> CheckpointError:
    """Return the error for a checkpoint that names a user's class, with the option to add."""
    others = f", not {', '.join(named)}" if named else ""
    return CheckpointError(
        f"the checkpoint contains {class_path}{others}, a class from outside lightning_flows: if you trust it, add "
        f"--{option}={class_path} (in Python, {option.partition('.')[0]}={class_path.rpartition('.')[2]})"
    )
