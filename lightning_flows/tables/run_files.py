"""Reading the files of a run folder, which anybody may have written: bounded, and nothing from outside of it."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import yaml
from yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent

from lightning_flows.errors import DataError

MAX_CONFIG, MAX_RECORDS, MAX_PICTURE = 2**18, 2**22, 2**25
"""Bytes of a config, of a file of records and of a picture."""
MAX_DEPTH, MAX_NODES, MAX_SCALAR = 64, 100_000, 10_000
"""Levels of a config or record, values in it once its references are followed, and characters of a plain value."""
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def open_file(path: Path, folder: Path) -> int:
    """A descriptor to read a plain file of a run folder from.

    Raises: DataError if it cannot be read, is no plain file, or is a link that leads out of the folder.
    """
    try:
        real = os.path.realpath(path)
        if not Path(real).is_relative_to(os.path.realpath(folder)):
            raise DataError(f"expected a file of the run; got {path}, which is a link out of its folder")
        descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise DataError(f"expected a plain file; got {path}")
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"expected a file that can be read; got {path} ({_reason(error)})") from error
    return descriptor


def read_bytes(path: Path, folder: Path, limit: int) -> bytes:
    """A whole file of a run folder. Raises: DataError as :func:`open_file` does, or if it is larger than ``limit``."""
    try:
        with os.fdopen(open_file(path, folder), "rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise DataError(f"expected a file that can be read; got {path} ({_reason(error)})") from error
    if len(content) > limit:
        raise DataError(f"expected a file of at most {limit} bytes; got {path}, which is larger")
    return content


def read_text(path: Path, folder: Path, limit: int) -> str:
    """A whole text of a run folder; see :func:`read_bytes`."""
    try:
        return read_bytes(path, folder, limit).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"expected text in UTF-8; got {path} ({error})") from error


def parse_yaml(text: str, name: str | Path) -> Any:
    """Plain values of a config. Raises: DataError if it is broken, too deep, or too large once references are followed.

    References are followed at no cost by YAML's loader, but by whoever looks at the values: a few lines can hold
    billions.
    """
    try:
        _check_size(text)
        return checked(yaml.load(text, Loader=LOADER), name)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    except (
        yaml.YAMLError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise DataError(f"expected plain YAML; got {name} ({_reason(error)})") from error


def parse_json(text: str, name: str | Path) -> Any:
    """Plain values of a record. Raises: DataError if it is broken or too deep, or has numbers beyond 64 bits."""
    try:
        return checked(json.loads(text), name)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"expected JSON; got {name} ({_reason(error)})") from error


def checked(value: Any, name: str | Path) -> Any:
    """A value whose depth and numbers are within the limits. Raises: DataError otherwise."""
    todo = [(value, 1)]
    while todo:
        one, depth = todo.pop()
        if depth > MAX_DEPTH:
            raise DataError(f"expected at most {MAX_DEPTH} levels; got more")
        if isinstance(one, int) and not -(2**63) <= one < 2**63:
            raise DataError("expected numbers of at most 64 bits; got a larger one")
        if isinstance(one, dict):
            todo += [(part, depth + 1) for pair in one.items() for part in pair]
        elif isinstance(one, list | tuple | set):
            todo += [(part, depth + 1) for part in one]
    return value


def _check_size(text: str) -> None:
    sizes: dict[str | None, int] = {}
    stack: list[tuple[str | None, int]] = [(None, 0)]
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, CollectionStartEvent):
            stack.append((event.anchor, 1))
            continue
        if isinstance(event, CollectionEndEvent):
            anchor, size = stack.pop()
        elif isinstance(event, AliasEvent):
            anchor, size = None, sizes.get(event.anchor, MAX_NODES + 1)  # one inside of itself has no end
        elif isinstance(event, ScalarEvent):
            anchor, size = event.anchor, 1
            if len(event.value) > MAX_SCALAR and event.implicit[0]:
                raise DataError(f"expected values of at most {MAX_SCALAR} characters; got a longer one")
        else:
            continue
        sizes[anchor] = size
        stack[-1] = (stack[-1][0], stack[-1][1] + size)
        if stack[-1][1] > MAX_NODES or len(stack) > MAX_DEPTH:
            raise DataError(f"expected at most {MAX_NODES} values in {MAX_DEPTH} levels; got more")


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())[:200]
