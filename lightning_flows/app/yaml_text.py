"""Read YAML as jsonargparse does, but only from regular files and within limits."""

import stat
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import get_loader

from lightning_flows.errors import ConfigError
from lightning_flows.functional.nested import leaves

MAX_BYTES = 2**20
MAX_DEPTH = 40
MAX_VALUES = 100_000
"""Limits of a config: file size, levels of nesting, and number of values after expanding aliases."""


def read_yaml(path: Path) -> Any:
    """Load a file. Raises: ConfigError, with file and line, if it is not YAML or exceeds the limits."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{path} is not a regular file: use a YAML file")
        if status.st_size > MAX_BYTES:
            raise ConfigError(f"{path} has {status.st_size:,} bytes, but a config may have at most {MAX_BYTES:,}")
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: use a YAML file") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({getattr(error, 'strerror', None) or error})") from error
    return load_yaml(text, str(path))


def load_yaml(text: str, name: str) -> Any:
    """Load a string; ``name`` is its source in error messages. Raises: ConfigError."""
    try:
        _check_structure(text, name)
        value = get_loader("yaml")(f"{text}\n#")  # `models:` alone would be read as a string
    except ConfigError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{name}{where}: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        raise ConfigError(f"{name} is not YAML: {' '.join(str(error).split())[:200]}") from error
    problem = f"{name} expands to more than {MAX_VALUES:,} values or {MAX_DEPTH} levels"
    for _ in leaves(value, MAX_DEPTH, MAX_VALUES, ConfigError(problem)):
        pass
    return value


def _check_structure(text: str, name: str) -> None:
    """Raise ConfigError for too many levels, or a key that occurs twice, whose first value would be lost."""
    above: list[list[str] | None] = []  # keys and values so far of each open mapping; None for a list
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionEndEvent):
            above.pop()
        elif isinstance(event, yaml.NodeEvent):
            if above and (entries := above[-1]) is not None:
                key = event.value if isinstance(event, yaml.ScalarEvent) else ""
                if len(entries) % 2 == 0 and key in entries[::2] and key not in ("", "<<"):
                    raise ConfigError(f"{name}, line {_line(event)}: the key {key} occurs twice: merge its values")
                entries.append(key)
            if isinstance(event, yaml.CollectionStartEvent):
                above.append([] if isinstance(event, yaml.MappingStartEvent) else None)
        if len(above) > MAX_DEPTH:
            raise ConfigError(f"{name} is nested more than {MAX_DEPTH} levels deep, in line {_line(event)}")


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1
