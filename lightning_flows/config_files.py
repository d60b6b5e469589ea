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

    A config with the key ``base`` becomes one config: that of the base with its own keys on top.
    """
    found: list[str] = []
    for i, arg in enumerate(args):
        name, equals, value = arg.partition("=")
        if i and args[i - 1] in ("-c", "--config"):
            arg = _resolve(arg)
        elif equals and name == "--config":
            arg = f"--config={_resolve(value)}"
        found.append(arg)
    return found


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
    base = config.pop("base", None) if isinstance(config, dict) else None
    return merge(load_config(base, inside=(*inside, path)), config) if base else config


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


def _resolve(value: str) -> str:
    if value.lstrip().startswith("{"):  # a config given as text
        return value
    path = _find([Path(), CONFIG_DIR], value)
    try:
        has_base = path.is_file() and "base" in (yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (yaml.YAMLError, UnicodeDecodeError, TypeError):
        has_base = False  # the parser says what is wrong with it
    return json.dumps(load_config(path)) if has_base else str(path) if path.is_file() else value


def _find(folders: Sequence[Path], name: str) -> Path:
    """The first file of that name in the folders."""
    return next((path for folder in folders if (path := folder / name).is_file()), Path(name))
