"""Imports point one way, and files stay small."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "lightning_flows"
FILES = sorted(PACKAGE.rglob("*.py"))

BELOW = {
    "functional": set(),
    "nets": {"functional"},
    "distributions": {"functional"},
    "transforms": {"functional", "nets"},
    "flows": {"functional", "nets", "distributions", "transforms"},
    "dequantization": {"functional", "nets", "distributions", "transforms", "flows"},
    "datasets": {"functional"},
    "checkpoints": set(),
    "datamodules": {"functional", "distributions", "datasets", "checkpoints"},
    "modules": {"checkpoints", "trust", "functional", "nets", "distributions", "transforms", "flows", "dequantization"},
    "tables": set(),
    "reports": {"tables"},
    "figures": {"functional", "flows", "dequantization", "datasets"},
    "callbacks": {"functional", "flows", "modules", "files", "figures", "remaining", "signals"},
}
"""What a folder may import, itself and the errors aside."""


def imported(file: Path) -> set[str]:
    """Names of the modules that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: expected absolute imports"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("folder", BELOW)
def test_imports_point_one_way(folder):
    files = sorted((PACKAGE / folder).rglob("*.py"))
    assert files
    for file in files:
        ours = {name.split(".")[1] for name in imported(file) if name.startswith("lightning_flows.")}
        assert ours <= BELOW[folder] | {folder, "errors", "__version__"}, file


@pytest.mark.parametrize("folder", ["functional", "nets", "distributions", "transforms", "flows", "dequantization"])
def test_the_library_needs_torch_alone(folder):
    for file in (PACKAGE / folder).rglob("*.py"):
        others = {name.split(".")[0] for name in imported(file)}
        assert not others & {"lightning", "jsonargparse", "torchmetrics", "tensorboard", "sklearn", "PIL"}, file


@pytest.mark.parametrize("folder", ["figures", "callbacks", "commands"])
def test_figures_leave_the_state_of_pyplot_alone(folder):
    for file in (PACKAGE / folder).rglob("*.py"):
        assert not any("pyplot" in name for name in imported(file)), file


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_files_are_small(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 400
