"""Pages that describe the code: commands, transforms, the diagram of imports, and worked examples."""

import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_flows import transforms
from lightning_flows.app.commands import COMMANDS as PLAIN_COMMANDS
from lightning_flows.app.commands import TRAINER_COMMANDS
from lightning_flows.transforms import Transform
from tests.markdown import PAGES, ROOT, Page
from tests.test_architecture import PACKAGE, imported

COMMANDS, TRANSFORMS, ARCHITECTURE = (
    Page(ROOT / "docs" / f"{name}.md") for name in ("commands", "transforms", "architecture")
)
EXPORTED = [
    name
    for name, kind in vars(transforms).items()
    if inspect.isclass(kind) and issubclass(kind, Transform) and not inspect.isabstract(kind)
]


@pytest.mark.parametrize("name", [*TRAINER_COMMANDS, *PLAIN_COMMANDS])
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


def write_blocks(page: Page, folder: Path) -> None:
    """Write each block into the file that its first line names, in a copy of the repository."""
    for name in ("lightning_flows", "configs", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.npz"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    for code in page.code("python") + page.code("yaml"):
        match = re.match(r"# ([\w/]+\.\w+)(, at the end)?\n", code)
        assert match is not None, code
        path = folder / match[1]
        assert path.exists() == bool(match[2]), path
        with path.open("a") as file:
            file.write("\n\n" + code if match[2] else code)


def run_commands(commands: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
        "PYTEST_ADDOPTS": "-q -p no:cacheprovider",
    }
    command = ["bash", "-e", "-c", commands]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


WORKED = [page for page in PAGES if page.is_worked_example]


@pytest.mark.parametrize("page", WORKED, ids=lambda page: page.path.name)
def test_worked_example_runs_in_a_fresh_folder(page: Page, tmp_path: Path) -> None:
    write_blocks(page, tmp_path)
    result = run_commands("".join(page.code("bash")), tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_mistake_in_the_worked_example_is_found(tmp_path: Path) -> None:
    (page,) = (page for page in WORKED if page.path.name == "add-a-transform.md")
    write_blocks(page, tmp_path)
    path = tmp_path / "lightning_flows/transforms/image/pixel_scale.py"
    assert path.read_text().count("self.channels * ") == 2
    path.write_text(path.read_text().replace("self.channels * ", ""))
    result = run_commands('pytest tests/transforms/test_contract.py -k "pixel_scale and check"', tmp_path)
    faults = re.findall(r"^E +(\w+): (.+), 1 over the number of channels \(4\): ", result.stdout, re.M)
    assert faults == [
        ("log_det", "log_det of forward is 0.25 times the Jacobian's"),
        ("inverse_log_det", "log_det of inverse is 0.25 times the Jacobian's"),
    ]
