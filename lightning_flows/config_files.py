"""Configs: those that come with the package, found by name, and configs that build on another."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from lightning_flows.errors import UsageError

PACKAGE = Path(__file__).parent
CONFIG_DIR = PACKAGE / "configs" if (PACKAGE / "configs").is_dir() else PACKAGE.parent / "configs"


def find_configs(args: Sequence[str]) -> list[str]:
    """Replace the value of each ``--config`` that is no file here by the packaged one of that name, if any.

    A config with the keys ``base`` or ``models`` becomes a plain one: see :func:`load_config` and :func:`choose_model`.
    """
    found: list[str] = []
    below: dict[str, Any] = {}
    for i, arg in enumerate(args):
        name, equals, value = arg.partition("=")
        separate = i > 0 and args[i - 1] in ("-c", "--config")
        if separate or (equals and name == "--config"):
            arg, config = _resolve(arg if separate else value, below)
            below = merge(below, config)
            arg = arg if separate else f"--config={arg}"
        found.append(arg)
    return found


def load_configs(*names: str | Path) -> dict[str, Any]:
    """Configs laid on top of each other, the last one on top, as the command line does."""
    whole: dict[str, Any] = {}
    for name in names:
        whole = merge(whole, choose_model(load_config(name), whole))
    return whole


def choose_model(config: dict[str, Any], below: dict[str, Any]) -> dict[str, Any]:
    """Replace the key ``models``, arguments by the name of the model's class, by those of the model named ``below``.

    So one overlay serves models whose sizes have different names.
    Raises: UsageError if no model is named below, or the overlay does not know it, or names none.
    """
    if "models" not in config:
        return config
    rest, models = {key: value for key, value in config.items() if key != "models"}, config["models"]
    model = below.get("model")
    if not isinstance(models, dict):
        raise UsageError(f"expected models to give arguments by the name of a model's class; got {models}")
    name = str(model.get("class_path", "") if isinstance(model, dict) else model or "").rpartition(".")[2]
    if name not in models:
        raise UsageError(
            f"expected this overlay on top of a config with a model among {', '.join(models)}; got "
            f"{name or 'none'}: give its --config after the model's"
        )
    return merge({"model": {"init_args": models[name]}}, rest)


def load_config(name: str | Path, *, inside: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A config as a dictionary, with its ``base`` (a path beside it, or a packaged name) merged below.

    Raises: UsageError if a config is its own base, or a base is missing.
    """
    folders = [inside[-1].parent, CONFIG_DIR] if inside else [Path(), CONFIG_DIR]
    path = _find(folders, str(name)).resolve()
    if path in inside:
        raise UsageError(f"expected a config that ends somewhere; got {path}, which has itself as base")
    if not path.is_file():
        raise UsageError(f"expected a config file; got {name}, which is neither here nor packaged")
    config = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    return with_base(config, inside=(*inside, path)) if isinstance(config, dict) else config


def with_base(config: dict[str, Any], *, inside: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The config merged onto that of its key ``base``, if it has one; ``inside`` are the files that it lies in."""
    rest, base = {key: value for key, value in config.items() if key != "base"}, config.get("base")
    return merge(load_config(base, inside=inside), rest) if base else rest


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Dictionaries are merged key by key; anything else above replaces what is below.

    >>> merge({"a": {"b": 1, "c": 2}}, {"a": {"c": [3]}})
    {'a': {'b': 1, 'c': [3]}}
    """
    both = below | above
    for key in below.keys() & above.keys():
        if isinstance(below[key], dict) and isinstance(above[key], dict):
            both[key] = merge(below[key], above[key])
    return both


def _resolve(value: str, below: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """What the parser is to read, and the config that it will find there, as far as that can be told."""
    path = None if value.lstrip().startswith("{") else _find([Path(), CONFIG_DIR], value)  # it may be given as text
    try:
        config = yaml.safe_load(value if path is None else path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError):
        config = None  # the parser says what is wrong with it
    text = str(path) if path is not None and path.is_file() else value
    if not isinstance(config, dict):
        return text, {}
    if not config.keys() & {"base", "models"}:
        return text, config
    config = choose_model(load_config(path) if path else with_base(config), below)
    return json.dumps(config), config


def _find(folders: Sequence[Path], name: str) -> Path:
    """The first file of that name in the folders."""
    return next((path for folder in folders if (path := folder / name).is_file()), Path(name))
