"""State dicts whose names do not depend on whether part of a model was compiled with ``torch.compile``."""

from typing import Any

from torch import nn

from lightning_flows.checkpoints.training import without_compiled


def keep_names_of_compiled(module: nn.Module) -> None:
    """Make a module save and load its state under uncompiled names, even after a submodule is replaced."""
    module.register_state_dict_post_hook(_written)
    module.register_load_state_dict_pre_hook(_read)


def _written(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    for key in [key for key in state if key.startswith(prefix)]:
        (name,) = without_compiled({key.removeprefix(prefix): None})
        if prefix + name != key:
            state[prefix + name] = state.pop(key)


def _read(module: nn.Module, state: dict[str, Any], prefix: str, *args: Any) -> None:
    named = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    names = {name: own for own, _ in named for name in without_compiled({own: None})}
    for key in [key for key in state if key.startswith(prefix)]:
        (plain,) = without_compiled({key.removeprefix(prefix): None})
        name = prefix + names.get(plain, plain)
        if name != key:
            state[name] = state.pop(key)
