"""Read Markdown pages: headings, links, code blocks and the commands in them."""

import re
import shlex
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S)
INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")


class Block(NamedTuple):
    """A fenced code block."""

    language: str
    code: str


class Page:
    """A Markdown file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text(encoding="utf-8")
        self.blocks = [Block(match["language"], match["code"]) for match in FENCE.finditer(self.text)]
        self.prose = FENCE.sub("", self.text)
        self.links = [target for target in LINK.findall(self.prose) if not re.match(r"\w+:", target)]
        self.inline = [" ".join(code.split()) for code in INLINE.findall(self.prose)]
        parts = re.split(r"^#+ +(.+?) *$", self.text, flags=re.M)
        self.sections = dict(zip(parts[1::2], parts[2::2], strict=True))

    @property
    def is_worked_example(self) -> bool:
        """Whether the first line of each block names the file that it belongs to."""
        return self.path.name.startswith("add-a-")

    def code(self, language: str) -> list[str]:
        """The code blocks in a language."""
        return [block.code for block in self.blocks if block.language == language]

    @cached_property
    def anchors(self) -> set[str]:
        """GitHub's anchors of the headings; headings are unique within a page."""
        headings = re.findall(r"^#+ +(.+?) *$", self.prose, re.M)
        return {re.sub(r"[^\w\- ]", "", LINK.sub("", heading).lower()).replace(" ", "-") for heading in headings}

    @cached_property
    def commands(self) -> list[list[str]]:
        """Arguments of each command in a bash block, and of inline code that looks like a command with options.

        What a shell does with the output, ``> FILE``, is left out.
        """
        lines = "\n".join(self.code("bash")).replace("\\\n", " ").splitlines()
        lines += [code for code in self.inline if re.match(r"[\w./ -]*\b[a-z]+ .*--|python -m", code)]
        commands = (takewhile(">".__ne__, shlex.split(line, comments=True)) for line in lines)
        return [words for command in commands if (words := list(command))]


OTHERS = "docker/README.md", "CONTRIBUTING.md", "CHANGELOG.md"
PAGES = [
    Page(path)
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *(ROOT / name for name in OTHERS)]
]
"""All pages of documentation."""
