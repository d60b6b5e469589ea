"""Hook of MkDocs: Mermaid's flowcharts become SVG when the site is built, so that no script is loaded."""

import re
import textwrap
from html import escape
from typing import Any

BLOCK = re.compile(r"^```mermaid\n(.*?)^```$", re.M | re.S)
WIDTH, HEIGHT, SPACE = 190, 74, 26
ARROW = (
    '<marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path class="head" d="M0 0L8 4L0 8z"/></marker>'
)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs."""
    return BLOCK.sub(lambda match: f'<div class="diagram">{drawn(match[1])}</div>', markdown)


def rows_of(names: list[str], edges: list[tuple[str, str]]) -> list[list[str]]:
    """Return nodes in rows, each node in the row after the last of those that lead to it.

    >>> rows_of(["a", "b", "c"], [("a", "b"), ("b", "c"), ("a", "c")])
    [['a'], ['b'], ['c']]
    """
    row = dict.fromkeys(names, 0)
    for _ in names:  # the longest path has fewer edges than there are nodes
        for above, below in edges:
            row[below] = max(row[below], row[above] + 1)
    return [[name for name in names if row[name] == number] for number in range(max(row.values()) + 1)]


def direct(edges: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the edges without those that a path of others implies, which would cross the nodes between.

    >>> direct([("a", "b"), ("b", "c"), ("a", "c")])
    [('a', 'b'), ('b', 'c')]
    """

    def reached(start: str, without: tuple[str, str]) -> set[str]:
        found, waiting = set[str](), [start]
        while waiting:
            here = waiting.pop()
            below = [to for edge in edges if edge != without for to in edge[1:] if edge[0] == here and to not in found]
            found.update(below)
            waiting += below
        return found

    return [edge for edge in edges if edge[1] not in reached(edge[0], edge)]


def drawn(flowchart: str) -> str:
    """Return a flowchart of nodes ``name["title<br>text"]`` and arrows ``name --> name`` as SVG.

    >>> drawn('flowchart TD\\n    a["a<br>first"]\\n    b["b<br>second"]\\n\\n    a --> b\\n').count("<rect")
    2
    """
    nodes = dict(re.findall(r'^ +(\w+)\["(.*)"\]$', flowchart, re.M))
    edges = re.findall(r"^ +(\w+) --> (\w+)$", flowchart, re.M)
    rows = rows_of(list(nodes), edges)
    width = max(map(len, rows)) * (WIDTH + SPACE) + SPACE
    place = {}
    for number, row in enumerate(rows):
        left = (width - len(row) * (WIDTH + SPACE) + SPACE) / 2
        for column, name in enumerate(row):
            place[name] = left + column * (WIDTH + SPACE), 4 + number * (HEIGHT + 2 * SPACE)
    height = len(rows) * (HEIGHT + 2 * SPACE) - 2 * SPACE + 8
    parts = [ARROW, *(_edge(*place[above], *place[below]) for above, below in direct(edges))]
    parts += [_box(*place[name], *text.split("<br>", 1)) for name, text in nodes.items()]
    return f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">{"".join(parts)}</svg>'


def _edge(x: float, y: float, to_x: float, to_y: float) -> str:
    x, to_x, y = x + WIDTH / 2, to_x + WIDTH / 2, y + HEIGHT
    bend = (to_y - y) / 2
    return (
        f'<path class="edge" marker-end="url(#arrow)" d="M{x} {y}C{x} {y + bend} {to_x} {to_y - bend} {to_x} {to_y}"/>'
    )


def _box(x: float, y: float, name: str, text: str = "") -> str:
    lines = textwrap.wrap(text, 32)[:3]
    middle = x + WIDTH / 2
    spans = "".join(f'<text x="{middle}" y="{y + 36 + 14 * i}">{escape(line)}</text>' for i, line in enumerate(lines))
    return (
        f'<rect class="box" x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>'
        f'<text class="name" x="{middle}" y="{y + 19}">{escape(name)}</text>{spans}'
    )
