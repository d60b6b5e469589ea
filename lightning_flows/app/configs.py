"""Configs: the packaged ones, found by name, and configs with a base."""

import difflib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lightning_flows.app.yaml_text import load_yaml, read_yaml
from lightning_flows.errors import ConfigError

PACKAGE = Path(__file__).parents[1]
CONFIG_DIR = PACKAGE / "configs" if (PACKAGE / "configs").is_dir() else PACKAGE.parent / "configs"
SECTIONS = ("model", "data", "optimizer", "trainer")
"""Keys that have keys of their own; without any, as when all of them are comments, they have no effect."""

Config = dict[str, Any]


def find_configs(args: Sequence[str]) -> list[str]:
    """Replace the value of each ``--config`` by the configs that the parser reads, in order.

    A name is searched for in the working directory, then among the packaged configs. The files that its key ``base``
    lists come first, each as one more ``--config``, so that the parser merges them. Raises: ConfigError.
    """
    found: list[str] = []
    for i, arg in enumerate(args):
        separate = i > 0 and args[i - 1] in ("-c", "--config")
        if separate:
            found.pop()
        if separate or arg.startswith(("--config=", "-c=")):
            found += [f"--config={each.argument}" for each in layers(arg if separate else arg.partition("=")[2])]
        else:
            found.append(arg)
    return found


def configs_first(args: Sequence[str]) -> list[str]:
    """Move each ``--config`` before all options, which then override configs regardless of their position.

    >>> configs_first(["fit", "--ckpt_path=last", "--config", "a.yaml", "--config=b.yaml"])
    ['fit', '--config', 'a.yaml', '--config=b.yaml', '--ckpt_path=last']
    """
    configs: list[str] = []
    others: list[str] = []
    for i, arg in enumerate(args):
        names_config = arg in ("-c", "--config") or arg.startswith(("--config=", "-c="))
        (configs if names_config or (i > 0 and args[i - 1] in ("-c", "--config")) else others).append(arg)
    return [*others[:1], *configs, *others[1:]]


def load_configs(*names: str | Path) -> Config:
    """Load configs and their bases as one dictionary; later ones take precedence.

    Raises: ConfigError if one is missing, malformed, or its own base.
    """
    whole: Config = {}
    for name in names:
        for layer in layers(str(name)):
            whole = _merged(whole, layer.config)
    return whole


def _merged(below: Config, above: Config) -> Config:
    """Merge key by key; a different class drops the arguments of the previous one, as in the parser.

    >>> _merged({"a": {"b": 1, "c": 2}}, {"a": {"c": [3]}})
    {'a': {'b': 1, 'c': [3]}}
    >>> _merged({"a": {"class_path": "A", "init_args": {"b": 1}}}, {"a": {"class_path": "B"}})
    {'a': {'class_path': 'B'}}
    """
    both = dict(below)
    for key, value in above.items():
        old = both.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            same_class = value.get("class_path", old.get("class_path")) == old.get("class_path")
            value = _merged(old, value) if same_class else value
        both[key] = value
    return both


def entries(config: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield all values in a config, sections before what they contain, with their keys joined by dots.

    >>> list(entries({"model": {"width": 8}}))
    [('model', {'width': 8}), ('model.width', 8)]
    """
    for key, value in config.items() if isinstance(config, dict) else ():
        path = f"{above}.{key}".lstrip(".")
        yield path, value
        yield from entries(value, path)


class Layer(NamedTuple):
    """A config, without its bases: its name, as in messages; what the parser reads instead of its file; its content."""

    name: str
    argument: str
    config: Config


def layers(name: str, inside: tuple[Path, ...] = ()) -> list[Layer]:
    """Return the bases of a config, then the config. Raises: ConfigError.

    ``inside`` are the configs that have it as their base, from the outermost on.
    """
    if is_text(name) and not inside:
        path, config = Path("--config"), load_yaml(name, "--config")
    else:
        path, name = _find(name, inside)
        if path in inside:
            raise ConfigError(f"{path} is its own base: remove the key base from one of these configs")
        config = read_yaml(path)
    if not isinstance(config, dict):
        raise ConfigError(f"{path} has no keys with values: use a YAML file such as {CONFIG_DIR / 'demo.yaml'}")
    empty = [key for key in SECTIONS if key in config and config[key] is None]
    rest = {key: value for key, value in config.items() if key not in ("base", *empty)}
    bases = config.get("base") or []
    bases = [bases] if isinstance(bases, str) else bases
    for key in SECTIONS:
        if isinstance(config.get(key), int | float | list):
            raise ConfigError(f"{key} in {path} is {str(config[key])[:80]}: give it keys, such as class_path")
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise ConfigError(f"{path} has a base that is neither a file name nor a list of file names: {str(bases)[:80]}")
    below = [layer for base in bases for layer in layers(base, (*inside, path))]
    rewritten = bases or empty
    text = f"# {' '.join(name.split())}\n{json.dumps(rest, default=str)}" if rewritten else name
    text = text.partition("\n")[2] if rewritten and is_text(name) else text
    return [*below, Layer(str(path) if is_text(name) else name, text, rest)] if rest or not bases else below


def is_text(value: str) -> bool:
    """Whether the value of ``--config`` is a config itself, perhaps after a comment with its file, not a file name."""
    return value.lstrip().startswith("{") or (value.startswith("# ") and "\n" in value)


def _find(name: str, inside: tuple[Path, ...]) -> tuple[Path, str]:
    """Find the file of a config: its absolute path, and its name for the parser. Raises: ConfigError."""
    for folder in (inside[-1].parent if inside else Path(), CONFIG_DIR):
        try:
            if name.strip() and "\0" not in name and (folder / name).exists() and not (folder / name).is_dir():
                return (folder / name).resolve(), str(folder / name)
        except OSError:  # a name that is too long
            continue
    packaged = sorted(str(path.relative_to(CONFIG_DIR)) for path in CONFIG_DIR.rglob("*.yaml"))
    close = difflib.get_close_matches(name, packaged, 1)
    meant = f"did you mean {close[0]}? " if close else ""
    top = ", ".join(each for each in packaged if "/" not in each)
    folders = ", ".join(sorted({f"{each.partition('/')[0]}/" for each in packaged if "/" in each}))
    what = (
        f"{inside[-1]} has the base {name[:200]!r}, which is neither next to it nor packaged"
        if inside
        else f"{name[:200]!r} does not exist here or among the packaged configs"
    )
    raise ConfigError(f"{what}: {meant}the packaged configs are {top} and those in {folders}")
