"""The documentation site: it lists every page, builds without warnings, and loads nothing from elsewhere."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path

import pytest

from tests.markdown import ROOT

PARTS = (
    "callbacks", "checkpoints", "data", "data.datasets", "dequantization", "distributions", "flows", "modules", "nets",
    "posteriors", "testing", "transforms", "vae",
)  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; MkDocs fails on any warning, such as a link or an anchor that does not exist."""
    for package in ("mkdocs", "material", "mkdocstrings", "latex2mathml"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return folder


def test_the_navigation_has_every_page(site: Path) -> None:
    text = (site / "index.html").read_text(encoding="utf-8")
    navigation = set(re.findall(r'href="([\w-]+)\.html"', text[text.index("md-nav--primary") :]))
    assert {path.stem for path in (ROOT / "docs").glob("*.md")} <= navigation
    notebooks = set(re.findall(r'href="notebooks/([\w-]+)\.html"', text[text.index("md-nav--primary") :]))
    assert {path.stem for path in (ROOT / "docs/notebooks").glob("*.ipynb")} == notebooks


def test_pages_of_notebooks_have_their_outputs(site: Path) -> None:
    for path in (ROOT / "docs/notebooks").glob("*.ipynb"):
        text = (site / f"notebooks/{path.stem}.html").read_text(encoding="utf-8")
        assert text.count("<img ") == path.read_text(encoding="utf-8").count('"image/png"') > 3
        assert (site / "notebooks" / path.name).read_bytes() == path.read_bytes()


class Loaded(HTMLParser):
    """Collects what a page loads by itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        names = dict(attributes)
        if tag in ("script", "img", "iframe") or (tag == "link" and names.get("rel") != "canonical"):
            self.found += [value for key in ("src", "href") if (value := names.get(key))]


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        for target in Loaded(page.read_text(encoding="utf-8")).found:
            assert not re.match(r"(\w+:)?//", target), (page.name, target)
            assert (page.parent / target.partition("?")[0].partition("#")[0]).exists(), (page.name, target)


def test_formulas_and_diagrams_are_drawn(site: Path) -> None:
    formulas = (ROOT / "docs/transforms.md").read_text(encoding="utf-8").count("\n$$")
    text = (site / "transforms.html").read_text(encoding="utf-8")
    assert text.count("<math") == formulas > 20
    assert "$$" not in re.sub(r"<(code|pre).*?</\1>", "", text, flags=re.S)
    assert (site / "architecture.html").read_text(encoding="utf-8").count('class="box"') > 10


def test_formulas_have_no_commands_left(site: Path) -> None:
    for page in site.rglob("*.html"):
        for formula in re.findall(r"<math.*?</math>", page.read_text(encoding="utf-8"), re.S):
            assert "\\" not in re.sub(r"<[^>]+>", "", formula), page.name


def docstrings(part: str) -> list[str]:
    package = import_module(f"lightning_flows.{part}")
    return [getattr(package, name).__doc__ or "" for name in package.__all__]


@pytest.mark.parametrize("part", PARTS)
def test_every_public_name_is_in_the_reference(part: str, site: Path) -> None:
    text = (site / f"api/{part}.html").read_text(encoding="utf-8")
    headings = {name.rpartition(".")[2] for name in re.findall(r'<h2 id="([\w.]+)"', text)}
    assert set(import_module(f"lightning_flows.{part}").__all__) <= headings
    assert ">>> " not in re.sub(r"<(code|pre)\b.*?</\1>", "", text, flags=re.S)
    assert not re.search(r":(class|func|meth|math):|\.\. math", text)
    assert text.count("<math") >= sum(":math:" in doc or ".. math::" in doc for doc in docstrings(part))
