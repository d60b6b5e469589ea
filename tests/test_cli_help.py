"""What ``--help`` and ``--print_config`` show: all options explained, short or in sections; configs that parse back."""

import re
from pathlib import Path

import pytest

from lightning_flows import data as datamodules
from lightning_flows import modules
from lightning_flows.app.cli import main
from lightning_flows.app.commands import COMMANDS, TRAINER_COMMANDS
from lightning_flows.app.configs import CONFIG_DIR
from lightning_flows.app.parser import class_names
from lightning_flows.data import FlowDataModule
from lightning_flows.modules import FlowModule

TRAINERS = sorted(TRAINER_COMMANDS)
CLASSES = [("model", name) for name in class_names(FlowModule) if name in modules.__all__]  # not those of tests
CLASSES += [("data", name) for name in class_names(FlowDataModule) if name in datamodules.__all__]


def show(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    with pytest.raises(SystemExit) as exit_info:
        main(args)
    assert exit_info.value.code == 0
    return capsys.readouterr().out


def unexplained(text: str) -> list[str]:
    """Options explained by fewer than three words, without type and default."""
    found = []
    for entry in re.split(r"\n  (?=[-a-z])", text)[1:]:
        line = re.sub(r"\((required, )?type:.*", "", " ".join(entry.split("\n\n")[0].split()))
        option = re.match(r"(?:-\S+(?: (?:\[[^]]*\]|\{[^}]*\}|[A-Z_]+\b))?(?:, )?)+|\w+", line)
        assert option, line
        if len(line[option.end() :].split()) < 3:
            found.append(line)
    return found


def test_unexplained_options_are_found() -> None:
    text = "options:\n  -h, --help            Show this help message.\n  --width WIDTH  (type: int,\n   default: 3)\n"
    assert unexplained(text) == ["--width WIDTH "]


@pytest.mark.parametrize("subcommand", [*TRAINERS, *COMMANDS])
def test_help_explains_every_option(subcommand: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = show(capsys, subcommand, "--help")
    assert "--" in text
    assert not unexplained(text[text.index("\n\n") :])


@pytest.mark.parametrize("subcommand", COMMANDS)
def test_help_fits_two_screens(subcommand: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(show(capsys, subcommand, "--help").splitlines()) <= 100


@pytest.mark.parametrize("subcommand", TRAINERS)
def test_help_has_short_sections_first(subcommand: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = show(capsys, subcommand, "--help")
    titles = re.findall(r"^(\w.*):$", text, re.M)
    assert [title.split(":")[0].split(" (")[0] for title in titles[-5:-1]] == ["options", "model", "data", "trainer"]
    lines = [line for line in text[: text.index(titles[-2])].splitlines() if "tests." not in line]
    assert len(lines) <= 140  # one per class of the package
    assert "registry" not in text[: text.index(titles[-2])]  # Lightning's help
    assert f"defaults are those of defaults/{'fit' if subcommand in ('fit', 'benchmark') else 'evaluate'}.yaml" in text
    assert str(CONFIG_DIR) not in text
    assert text.startswith("usage: python -m lightning_flows")


@pytest.mark.parametrize(("section", "name"), CLASSES)
def test_help_of_a_class_explains_every_option(section: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = show(capsys, "fit", f"--{section}.help", name)
    assert f"--{section}." in text
    assert not unexplained(text[text.index("Help for") :])


@pytest.mark.parametrize(
    "configs",
    [
        *((path.name,) for path in CONFIG_DIR.glob("*.yaml") if "# Overlay" not in path.read_text()),
        ("model/glow.yaml", "dequantization/variational.yaml", "data/cifar10.yaml"),
        ("model/gnf.yaml", "data/mog.yaml"),
    ],
)
def test_printed_configs_parse_back(
    configs: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = show(capsys, "fit", *(f"--config={config}" for config in configs), "--print_config")
    file = tmp_path / "printed.yaml"
    file.write_text(printed)
    assert "class_path" in printed
    assert show(capsys, "fit", f"--config={file}", "--print_config") == printed


@pytest.mark.parametrize(
    ("subcommand", "message"),
    [
        ("fit", "a config"),
        ("test", "a checkpoint"),
        ("benchmark", "a config or a checkpoint"),
        ("sample", "a checkpoint"),
        ("table", "the number"),
    ],
)
def test_required_arguments(subcommand: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main([subcommand])
    assert exit_info.value.code == 2
    error, tip = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: {subcommand} needs {message}")
    assert tip == f"tip: `python -m lightning_flows {subcommand} --help` lists the options"
