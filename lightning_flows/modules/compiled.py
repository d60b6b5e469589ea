"""Parameter names that do not depend on whether part of a model was compiled with ``torch.compile``."""

from collections.abc import Mapping
from typing import Any

from torch import nn

MARK = "_orig_mod."


def without_compiled(state: Mapping[str, Any]) -> dict[str, Any]:
    """Rename a state dict to the names of an uncompiled model.

    >>> without_compiled({"model._orig_mod.flow.mean": 1})
    {'model.flow.mean': 1}
    """
    return {key.replace(MARK, ""): value for key, value in state.items()}


def keep_names_of_compiled(module: nn.Module) -> None:
    """Make a module save and load its state under uncompiled names, even after a submodule is replaced."""
    module.register_state_dict_post_hook(_written)
    module.register_load_state_dict_pre_hook(_read)


def _written(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    for key in [key for key in state if key.startswith(prefix) and MARK in key[len(prefix) :]]:
        state[prefix + key[len(prefix) :].replace(MARK, "")] = state.pop(key)


def _read(module: nn.Module, state: dict[str, Any], prefix: str, *args: Any) -> None:
    named = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    names = {name.replace(MARK, ""): name for name, _ in named}
    for key in [key for key in state if key.startswith(prefix)]:
        plain = key[len(prefix) :].replace(MARK, "")
        name = prefix + names.get(plain, plain)
        if name != key:
            state[name] = state.pop(key)
