"""Safe text for any terminal."""

import re
import sys
import warnings
from io import TextIOWrapper
from pathlib import Path
from typing import Any

CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters except the newline: terminals execute some of them, and others reverse text."""


def plain(text: str) -> str:
    r"""Escape control characters, so that a terminal displays them instead of interpreting them.

    >>> plain("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    return CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """Join lines and escape control characters; see :func:`plain`."""
    return plain(" ".join(text.split()))


def print_any_text() -> None:
    """Make ``print`` escape characters that the terminal's encoding lacks, such as − in a table, instead of failing."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def print_short_warnings() -> None:
    """Make a warning of this package the line ``warning: …``, without the place in the code that raises it."""
    default = warnings.formatwarning  # Lightning replaces Python's when it is imported: call this afterwards
    if isinstance(default, _Short):
        return
    warnings.formatwarning = _Short(default)


class _Short:
    """Format warnings of this package as one line, and others by another function."""

    def __init__(self, default: Any) -> None:
        self.default = default

    def __call__(
        self, message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if Path(filename).is_relative_to(Path(__file__).parents[1]):
            return f"warning: {one_line(str(message))}\n"
        return self.default(message, category, filename, lineno, line)
