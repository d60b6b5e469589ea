"""Pages that describe the code: commands, transforms, the diagram of imports, and worked examples."""

import inspect
import re

import pytest

from lightning_flows import transforms
from lightning_flows.app.cli import PLAIN_COMMANDS, FlowCLI
from lightning_flows.transforms import Transform
from tests.markdown import ROOT, Page
from tests.test_architecture import PACKAGE, imported

COMMANDS, TRANSFORMS, ARCHITECTURE = (
    Page(ROOT / "docs" / f"{name}.md") for name in ("commands", "transforms", "architecture")
)
EXPORTED = [
    name
    for name, kind in vars(transforms).items()
    if inspect.isclass(kind) and issubclass(kind, Transform) and not inspect.isabstract(kind)
]


@pytest.mark.parametrize("name", [*FlowCLI.subcommands(), *PLAIN_COMMANDS])
def test_every_subcommand_has_a_section(name: str) -> None:
    section = COMMANDS.sections[name]
    assert f"python -m lightning_flows {name}" in section
    assert "**Writes**" in section
    assert "**Refuses**" in section
    assert f"[`{name}`](#{name})" in COMMANDS.text


@pytest.mark.parametrize("name", EXPORTED)
def test_every_transform_has_an_entry(name: str) -> None:
    section = TRANSFORMS.sections[name]
    assert section.count("$$") == 2, "expected one formula"
    assert re.findall(r"^- \*\*(.+?)\*\*: \S", section, re.M) == ["Log-determinant", "Cost", "Limits", "Paper"]


def test_the_table_of_transforms_is_complete() -> None:
    rows = re.findall(r"^\| \[`(\w+)`\]\(#(\w+)\)", TRANSFORMS.text, re.M)
    assert sorted(rows) == sorted((name, name.lower()) for name in EXPORTED)


def test_the_diagram_shows_the_imports() -> None:
    nodes = set(re.findall(r'^ +(\w+)\["', ARCHITECTURE.text, re.M))
    assert nodes == {file.relative_to(PACKAGE).parts[0] for file in PACKAGE.glob("*/*.py")}
    reachable = set(re.findall(r"^ +(\w+) --> (\w+)$", ARCHITECTURE.text, re.M))
    while more := {(a, d) for a, b in reachable for c, d in reachable if b == c} - reachable:
        reachable |= more
    for file in PACKAGE.glob("*/**/*.py"):
        folder = file.relative_to(PACKAGE).parts[0]
        below = {name.split(".")[1] for name in imported(file) if name.startswith("lightning_flows.")} & nodes
        assert {(folder, name) for name in below - {folder}} <= reachable, file
