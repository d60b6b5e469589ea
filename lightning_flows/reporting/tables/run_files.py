"""Read the files of an untrusted run folder: within limits, and nothing outside of it."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import yaml
from yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent

from lightning_flows.errors import DataError

MAX_CONFIG, MAX_RECORDS, MAX_IMAGE = 2**18, 2**22, 2**25
"""Maximum bytes of a config, of a file of records and of an image."""
MAX_DEPTH, MAX_NODES, MAX_SCALAR = 64, 100_000, 10_000
"""Limits of a config or record: levels, values after expanding references, and characters of a plain value."""
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def open_file(path: Path, folder: Path) -> int:
    """Open a regular file of a run folder for reading; return its descriptor.

    Raises: DataError if it cannot be read, is not a regular file, or is a link that leads out of the folder.
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
    """Read a file of a run folder. Raises: DataError as for :func:`open_file`, or if it is larger than ``limit``."""
    try:
        with os.fdopen(open_file(path, folder), "rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise DataError(f"expected a file that can be read; got {path} ({_reason(error)})") from error
    if len(content) > limit:
        raise DataError(f"expected a file of at most {limit} bytes; got {path}, which is larger")
    return content


def read_text(path: Path, folder: Path, limit: int) -> str:
    """Read a text file of a run folder; see :func:`read_bytes`."""
    try:
        return read_bytes(path, folder, limit).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"expected text in UTF-8; got {path} ({error})") from error


def parse_yaml(text: str, name: str | Path) -> Any:
    """Parse a config to plain values. Raises: DataError if it is broken, too deep, or too large when expanded.

    YAML's loader shares referenced values at no cost, but any code that visits them expands them: a few lines can stand
    for billions of values.
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
    """Parse a record to plain values. Raises: DataError if it is broken or too deep, or has numbers beyond 64 bits."""
    try:
        return checked(json.loads(text), name)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"expected JSON; got {name} ({_reason(error)})") from error


def checked(value: Any, name: str | Path) -> Any:
    """Return the value if its depth and numbers are within limits. Raises: DataError otherwise."""
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
            anchor, size = None, sizes.get(event.anchor, MAX_NODES + 1)  # a recursive alias is infinite
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
