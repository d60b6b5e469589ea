"""Read the files of an untrusted run folder, within limits, and none outside of it."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import yaml

from lightning_flows.errors import DataError, shortened
from lightning_flows.functional.nested import leaves

MAX_CONFIG, MAX_RECORDS, MAX_IMAGE = 2**18, 2**22, 2**25
"""Size limits of a config, a file of records and an image, in bytes."""
MAX_DEPTH, MAX_VALUES = 64, 100_000
"""Limits of a config or record: levels of nesting, and values after expanding aliases."""
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def open_file(path: Path, folder: Path) -> int:
    """Open a regular file of a run folder for reading; return its descriptor.

    Raises: DataError if it cannot be read, is not a regular file, or is a link that leads out of the folder.
    """
    try:
        real = os.path.realpath(path)
        if not Path(real).is_relative_to(os.path.realpath(folder)):
            raise DataError(f"{path} is a link out of its folder")
        descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise DataError(f"{path} is not a regular file")
    except DataError:
        raise
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {_reason(error)}") from error
    return descriptor


def read_bytes(path: Path, folder: Path, limit: int) -> bytes:
    """Read a file of a run folder. Raises: DataError as for :func:`open_file`, or if it is larger than ``limit``."""
    try:
        with os.fdopen(open_file(path, folder), "rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {_reason(error)}") from error
    if len(content) > limit:
        raise DataError(f"{path} is larger than {limit} bytes")
    return content


def read_text(path: Path, folder: Path, limit: int) -> str:
    """Read a text file of a run folder; see :func:`read_bytes`."""
    try:
        return read_bytes(path, folder, limit).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}") from error


def parse_yaml(text: str, name: str | Path) -> Any:
    """Parse a config to plain values. Raises: DataError if it is malformed, too deep, or too large when expanded."""
    try:
        return _checked(yaml.load(text, Loader=LOADER))
    except Exception as error:  # crafted YAML may raise anything in its constructors
        raise DataError(f"{name} is not a plain config: {_reason(error)}") from error


def parse_json(text: str, name: str | Path) -> Any:
    """Parse a record to plain values. Raises: DataError if it is malformed, too deep, or has numbers beyond 64 bits."""
    try:
        return _checked(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} is not a plain record: {_reason(error)}") from error


def _checked(value: Any) -> Any:
    """Return the value if it is within limits. Raises: DataError otherwise."""
    problem = f"it has more than {MAX_VALUES} values or {MAX_DEPTH} levels"
    for each in leaves(value, MAX_DEPTH - 1, MAX_VALUES, DataError(problem)):
        if isinstance(each, int) and not -(2**63) <= each < 2**63:
            raise DataError("it has numbers of more than 64 bits")
    return value


def _reason(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and (mark := error.problem_mark or error.context_mark):
        return f"{error.problem or error.context}, in line {mark.line + 1}"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return shortened(text)
