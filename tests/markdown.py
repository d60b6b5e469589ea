"""What the tests read out of a page: headings, links, code blocks, and the commands that it shows."""

import re
import shlex
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
FOLDERS = ("docs", "docker", "benchmarks")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^(?:<!-- (?P<mark>[\w ]+) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S)
INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")


class Block(NamedTuple):
    """A fenced block, and the comment right above it if there is one: ``<!-- mark -->``."""

    language: str
    code: str
    mark: str = ""


class Page:
    """A Markdown file."""

    def __init__(self, path: Path, text: str | None = None) -> None:
        self.path = path
        self.text = path.read_text(encoding="utf-8") if text is None else text

    @cached_property
    def blocks(self) -> list[Block]:
        return [Block(match["language"], match["code"], match["mark"] or "") for match in FENCE.finditer(self.text)]

    @cached_property
    def prose(self) -> str:
        """The page without its blocks."""
        return FENCE.sub("", self.text)

    @cached_property
    def headings(self) -> list[str]:
        return re.findall(r"^#+ +(.+?) *$", self.prose, re.M)

    @cached_property
    def sections(self) -> dict[str, str]:
        """The text below each heading, up to the next one of any level."""
        parts = re.split(r"^#+ +(.+?) *$", self.text, flags=re.M)
        return dict(zip(parts[1::2], parts[2::2], strict=True))

    @cached_property
    def anchors(self) -> set[str]:
        """As GitHub makes them: lower case, no punctuation, hyphens for spaces, a number where one comes again."""
        found: set[str] = set()
        for heading in self.headings:
            slug = re.sub(r"[^\w\- ]", "", LINK.sub("", heading).lower()).replace(" ", "-")
            again = 0
            while (anchor := f"{slug}-{again}" if again else slug) in found:
                again += 1
            found.add(anchor)
        return found

    @cached_property
    def links(self) -> list[str]:
        """Targets of links and images that are no addresses on the web."""
        return [target for target in LINK.findall(self.prose) if not re.match(r"\w+:", target)]

    @cached_property
    def inline(self) -> list[str]:
        """Code within a line."""
        return [" ".join(code.split()) for code in INLINE.findall(self.prose)]

    @cached_property
    def commands(self) -> list[list[str]]:
        """Arguments of each ``python -m lightning_flows …`` in a block, and of each within a line that has options."""
        lines = [
            line
            for block in self.blocks
            if block.language == "bash"
            for line in block.code.replace("\\\n", " ").splitlines()
        ]
        found = [shlex.split(line, comments=True) for line in lines]
        found += [shlex.split(code) for code in self.inline if re.match(r"[\w./ -]*\b[a-z]+ .*--|python -m", code)]
        return [words for words in found if words]


PAGES = [Page(path) for path in [ROOT / "README.md", *(p for f in FOLDERS for p in sorted((ROOT / f).rglob("*.md")))]]
"""All pages for people."""
