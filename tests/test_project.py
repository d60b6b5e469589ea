"""What surrounds the code: distributions, citation, changelog, workflows, templates, and hooks."""

import re
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.version import Version

from lightning_flows import __version__
from tests.lowest import lowest
from tests.markdown import LINK, ROOT

CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
YAML = [ROOT / "CITATION.cff", ROOT / ".pre-commit-config.yaml", *(ROOT / ".github").rglob("*.yml")]


def build_wheel(folder: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> zipfile.ZipFile:
    wheel = pytest.importorskip("hatchling.builders.wheel")
    monkeypatch.setenv("LIGHTNING_FLOWS_URL", url)
    (path,) = wheel.WheelBuilder(str(ROOT)).build(directory=str(folder))
    return zipfile.ZipFile(path)


def metadata_of(wheel: zipfile.ZipFile) -> str:
    return wheel.read(f"lightning_flows-{__version__}.dist-info/METADATA").decode()


def test_the_wheel_has_types_and_configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = build_wheel(tmp_path, monkeypatch, "").namelist()
    assert {"lightning_flows/py.typed", "lightning_flows/configs/defaults/fit.yaml"} <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "docs/")) or "__pycache__" in name]


def test_links_of_the_package_page_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = metadata_of(build_wheel(tmp_path, monkeypatch, "https://host/owner/it/"))
    assert "Project-URL: Source, https://host/owner/it\n" in text
    assert "](https://host/owner/it/raw/HEAD/docs/images/moons.png)" in text
    assert "git clone https://host/owner/it " in text
    links = [link for link in LINK.findall(text.partition("\n\n")[2]) if not link.startswith("#")]
    assert len(links) > 20
    assert all(link.startswith("https://host/owner/it/") for link in links)


def test_without_an_address_the_package_page_has_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = metadata_of(build_wheel(tmp_path, monkeypatch, ""))
    assert not LINK.findall(text)
    assert "Source" not in text.partition("\n\n")[0]
    assert "Transforms lists the\n  formula" in text


@pytest.mark.parametrize("path", YAML, ids=lambda path: path.name)
def test_project_files_are_yaml(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)


def test_project_has_one_version() -> None:
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == __version__
    versions = [Version(text) for text in re.findall(r"^## (\d[\w.]*) \(\d{4}-\d\d-\d\d\)$", CHANGELOG, re.M)]
    assert versions[0] == Version(__version__)
    assert versions == sorted(versions, reverse=True)
    assert len(versions) == len(re.findall("^## ", CHANGELOG, re.M)) - CHANGELOG.count("## Unreleased")


@pytest.mark.parametrize("path", (ROOT / ".github/workflows").glob("*.yml"), ids=lambda path: path.name)
def test_project_workflows_run_targets_that_exist(path: Path) -> None:
    workflow: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    steps = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    targets = re.findall(r"^make ([\w-]+)", "\n".join(steps), re.M)
    assert targets
    assert len(targets) == len(steps)
    assert set(targets) <= set(re.findall(r"^([\w-]+):", MAKEFILE, re.M))


def test_project_hooks_run_tools_of_the_environment() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    (included,) = (line for line in extras["dev"] if line.startswith("lightning_flows["))
    names = ["dev", *re.findall(r"\w+", included.partition("[")[2])]
    required = {re.match(r"[\w-]+", requirement)[0] for name in names for requirement in extras[name]}
    entries = [hook["entry"].split() for repo in config["repos"] for hook in repo["hooks"]]
    assert all(words[0].startswith(".venv/bin/") and Path(words[0]).name in required for words in entries)
    named = [word for words in entries for word in words if word.endswith(".py")]
    assert all((ROOT / name).exists() for name in named)


def test_project_documents_the_lowest_versions() -> None:
    page = (ROOT / "docs/installation.md").read_text(encoding="utf-8")
    documented = {f"{name}=={bound}" for name, bound in re.findall(r"^\| ([\w-]+) \| ([\d.]+) \|", page, re.M)}
    assert set(lowest(extras=())) == documented
