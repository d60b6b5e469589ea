"""Names of weights that are the same whether or not a part of a model went through ``torch.compile``."""

from collections.abc import Mapping
from typing import Any

from torch import nn

MARK = "_orig_mod."


def without_compiled(state: Mapping[str, Any]) -> dict[str, Any]:
    """State by the names that it has in a model that was not compiled.

    >>> without_compiled({"model._orig_mod.flow.mean": 1})
    {'model.flow.mean': 1}
    """
    return {key.replace(MARK, ""): value for key, value in state.items()}


def keep_names_of_compiled(module: nn.Module) -> None:
    """Let a module write and read its state by the names that it has uncompiled, even once a part is replaced."""
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
