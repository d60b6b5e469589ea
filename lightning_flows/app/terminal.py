"""Safe text for any terminal."""

import re
import sys
from io import TextIOWrapper

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
