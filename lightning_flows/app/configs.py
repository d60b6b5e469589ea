"""Configs: those that come with the package, found by name, and configs that build on another."""

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_flows.app.yaml_text import load_yaml, read_yaml
from lightning_flows.errors import ConfigError, UsageError

PACKAGE = Path(__file__).parents[1]
CONFIG_DIR = PACKAGE / "configs" if (PACKAGE / "configs").is_dir() else PACKAGE.parent / "configs"


def find_configs(args: Sequence[str]) -> list[str]:
    """Replace the value of each ``--config`` that is not a file here by the packaged config of that name, if any.

    A config with a ``base`` becomes two, the base first, so that the parser merges them like any two configs. One with
    the key ``models`` becomes a plain config: see :func:`choose_model`. Raises: ConfigError.
    """
    found: list[str] = []
    below: dict[str, Any] = {}
    for i, arg in enumerate(args):
        name, equals, value = arg.partition("=")
        separate = i > 0 and args[i - 1] in ("-c", "--config")
        if not separate and not (equals and name == "--config"):
            found.append(arg)
            continue
        texts, config = _resolve(arg if separate else value, below)
        below = merge(below, config)
        if separate:
            found += [each for text in texts for each in ("--config", text)][1:]
        else:
            found += [f"--config={text}" for text in texts]
    return found


def configs_first(args: Sequence[str]) -> list[str]:
    """Arguments with each ``--config`` before all options, which win over configs wherever they stand.

    >>> configs_first(["fit", "--ckpt_path=last", "--config", "a.yaml", "--config=b.yaml"])
    ['fit', '--config', 'a.yaml', '--config=b.yaml', '--ckpt_path=last']
    """
    configs: list[str] = []
    others: list[str] = []
    for i, arg in enumerate(args):
        is_value = i > 0 and args[i - 1] in ("-c", "--config")
        (configs if is_value or arg in ("-c", "--config") or arg.startswith("--config=") else others).append(arg)
    return [*others[:1], *configs, *others[1:]]


def given_config(value: str) -> dict[str, Any]:
    """The full config for the value of a ``--config``; empty if there is none."""
    path = _path(value)
    config = read_yaml(path) if path else (load_yaml(value, "--config") if _is_text(value) else None)
    if not isinstance(config, dict):
        return {}
    return merge(*_split(config, inside=(path,) if path else ())) if "base" in config else config


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
    """A config as a dictionary, merged onto its ``base`` (a path relative to it, or a packaged name).

    Raises: ConfigError if a config is its own base, or a base is missing.
    """
    folders = [inside[-1].parent, CONFIG_DIR] if inside else [Path(), CONFIG_DIR]
    path = _find(folders, str(name))
    if path is None:
        raise ConfigError(_missing(str(name), inside))
    path = path.resolve()
    if path in inside:
        raise ConfigError(f"{path} has itself as base: take the key base out of one of its configs")
    config = read_yaml(path)
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise ConfigError(f"{path} holds no keys with values: give a YAML file such as {CONFIG_DIR / 'demo.yaml'}")
    return merge(*_split(config, inside=(*inside, path)))


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Merge dictionaries key by key; any other value above replaces the one below.

    A different class drops the arguments of the one below, and a key ending in ``+`` appends, as in the parser.

    >>> merge({"a": {"b": 1, "c": 2}}, {"a": {"c": [3]}})
    {'a': {'b': 1, 'c': [3]}}
    >>> merge({"a": {"class_path": "A", "init_args": {"b": 1}}}, {"a": {"class_path": "B"}})
    {'a': {'class_path': 'B'}}
    >>> merge({"a": [1]}, {"a+": 2}), merge({"a+": [1]}, {"a+": [2]})
    ({'a': [1, 2]}, {'a+': [1, 2]})
    """
    both = dict(below)
    for key, value in above.items():
        plain, appended = key.removesuffix("+") if isinstance(key, str) else key, f"{key}".removesuffix("+") + "+"
        if key == appended:
            target = plain if isinstance(both.get(plain), list) else key
            both[target] = _listed(both.get(target, [])) + _listed(value)
            continue
        both.pop(appended, None)
        old = both.get(key)
        both[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return both


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    if "class_path" in new and "class_path" in old and new["class_path"] != old["class_path"]:
        old = {key: value for key, value in old.items() if key not in ("init_args", "dict_kwargs")}
    return merge(old, new)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _resolve(value: str, below: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """The configs for the parser to read, in order of increasing precedence, and the merged config."""
    path = _path(value)
    if path is None and not _is_text(value):
        raise ConfigError(_missing(value, ()))
    config = read_yaml(path) if path else load_yaml(value, "--config")
    if not isinstance(config, dict):
        if path and config is not None:
            raise ConfigError(f"{path} holds no keys with values: give a YAML file such as {CONFIG_DIR / 'demo.yaml'}")
        return [str(path or value)], {}
    if not config.keys() & {"base", "models"}:
        return [str(path or value)], config
    base, rest = _split(config, inside=(path.resolve(),) if path else ())
    rest = choose_model(rest, merge(below, base))
    return [json.dumps(each) for each in (base, rest) if each or each is rest], merge(base, rest)


def _split(config: dict[str, Any], *, inside: tuple[Path, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The config of the key ``base`` and the config to merge onto it; ``inside`` are the files that include it."""
    rest, base = {key: value for key, value in config.items() if key != "base"}, config.get("base")
    if base is not None and not isinstance(base, str):
        raise ConfigError(f"{_name(inside)} has a base that is no name of a file: {str(base)[:80]}")
    return load_config(base, inside=inside) if base else {}, rest


def _missing(name: str, inside: tuple[Path, ...]) -> str:
    packaged = sorted(str(path.relative_to(CONFIG_DIR)) for path in CONFIG_DIR.rglob("*.yaml"))
    close = difflib.get_close_matches(name, packaged, 1)
    meant = f"did you mean {close[0]}? " if close else ""
    top = ", ".join(each for each in packaged if "/" not in each)
    what = (
        f"{_name(inside)} has the base {name[:200]!r}, which is neither beside it nor packaged"
        if inside
        else (f"{name[:200]!r} is neither here nor packaged")
    )
    return f"{what}: {meant}packaged are {top} and those of {', '.join(_folders(packaged))}"


def _folders(packaged: list[str]) -> list[str]:
    return sorted({f"{each.partition('/')[0]}/" for each in packaged if "/" in each})


def _name(inside: tuple[Path, ...]) -> str:
    return str(inside[-1]) if inside else "--config"


def _is_text(value: str) -> bool:
    return value.lstrip().startswith("{")


def _path(value: str) -> Path | None:
    return None if _is_text(value) else _find([Path(), CONFIG_DIR], value)


def _find(folders: Sequence[Path], name: str) -> Path | None:
    """The first existing path of that name in the folders; reading it shows whether it is a file."""
    if "\0" in name or not name.strip():
        return None
    for folder in folders:
        try:
            if (folder / name).exists() and not (folder / name).is_dir():
                return folder / name
        except OSError:  # a name that is too long
            continue
    return None
