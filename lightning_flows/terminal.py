"""Text for a terminal, whatever it holds and whatever the terminal knows."""

import re
import sys
from io import TextIOWrapper

CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""All but the end of a line: a terminal would obey some of them, and the others turn text around."""


def plain(text: str) -> str:
    r"""Text whose control characters are written out, so that a terminal shows them and does not obey.

    >>> plain("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    return CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """Text as one line; see :func:`plain`."""
    return plain(" ".join(text.split()))


def print_any_text() -> None:
    """Let ``print`` write out what the terminal's encoding lacks, such as the − of a table, instead of failing."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
