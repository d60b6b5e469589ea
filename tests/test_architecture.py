"""Imports point one way, files stay small, and private attributes of other packages are few and documented."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lightning_flows"
FILES = sorted(PACKAGE.rglob("*.py"))

ORDER = (
    "functional",
    "nets",
    "transforms",
    "distributions",
    "posteriors",
    "flows",
    "dequantization",
    "vae",
    "testing",
    "checkpoints",
    "modules",
    "data",
    "reporting",
    "training",
    "callbacks",
    "app",
)
"""Folders; each imports only from those before it."""

NEVER = {
    "checkpoints": set(ORDER[1:9]),
    "data": {"nets", "transforms", "posteriors", "flows", "dequantization", "vae", "modules"},
    "training": {"data", "modules"},
}
"""Earlier folders that a folder must not import."""

SHARED = {"data_identity", "errors", "files", "progress", "trust", "__version__"}
"""Modules outside of the folders that all may import."""


def imported(file: Path) -> set[str]:
    """Names of the modules that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: expected absolute imports"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("folder", ORDER)
def test_imports_point_one_way(folder):
    files = sorted((PACKAGE / folder).rglob("*.py"))
    assert files
    allowed = ({*ORDER[: ORDER.index(folder) + 1]} - NEVER.get(folder, set())) | SHARED
    for file in files:
        ours = {name.split(".")[1] for name in imported(file) if name.startswith("lightning_flows.")}
        assert ours <= allowed, f"{file.relative_to(PACKAGE)} imports {ours - allowed}"


def test_every_folder_is_in_the_order():
    assert {file.relative_to(PACKAGE).parts[0] for file in FILES if file.parent != PACKAGE} == set(ORDER)


@pytest.mark.parametrize("folder", ORDER[:9])
def test_the_library_needs_only_torch(folder):
    for file in (PACKAGE / folder).rglob("*.py"):
        others = {name.split(".")[0] for name in imported(file)} - sys.stdlib_module_names
        assert others <= {"torch", "numpy", "lightning_flows"}, file


@pytest.mark.parametrize("folder", ["reporting", "callbacks", "app"])
def test_no_global_state_of_pyplot(folder):
    for file in (PACKAGE / folder).rglob("*.py"):
        assert not any("pyplot" in name for name in imported(file)), file


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_files_are_small(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 300


def private_attributes() -> set[tuple[str, str]]:
    """(file, name) of each private attribute or module of another package that the package uses."""
    found = set()
    defined = {"_replace"}  # documented, of named tuples
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                defined.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                defined.add(node.attr)
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Attribute) and ast.unparse(node) != "os._exit":  # documented
                names = [node.attr]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.module.startswith("lightning_flows"):
                names = [*node.module.split("."), *(alias.name for alias in node.names)]
            private = {name for name in names if name.startswith("_") and not name.startswith("__")}
            found |= {(str(file.relative_to(PACKAGE)), name) for name in private - defined}
    return found


def test_private_attributes_of_others_are_few_and_documented():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `([\w/]+\.py)` \| `(_\w+)` \|", text, re.M))
    assert private_attributes() == documented
    assert len(documented) <= 6
