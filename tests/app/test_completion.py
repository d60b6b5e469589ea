"""Tab completion: shells complete commands, options, class names and configs from the printed script."""

import os
import pty
import re
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from lightning_flows.app.cli import main
from lightning_flows.app.commands import COMMANDS, TRAINER_COMMANDS
from lightning_flows.app.completion import OPTION, completed_options, packaged_configs

pytest.importorskip("shtab")

COMPLETE = """
source "$0"
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_lightning_flows
printf '%s\\n' "${COMPREPLY[@]}"
"""


def write_script(shell: str, path: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        text: list[str] = []
        patch.setattr("builtins.print", lambda each: text.append(each))
        main(["completion", shell])
    path.write_text("\n".join(text))
    return path


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_script("bash", tmp_path_factory.mktemp("completion") / "script.bash")


def completed(script: Path, *words: str) -> list[str]:
    command = ["bash", "-c", COMPLETE, str(script), "lightning-flows", *words]
    result = subprocess.run(command, cwd=script.parent, capture_output=True, text=True, check=True)
    return result.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fig"], ["figure"]),
        (["fit", "--weights"], ["--weights_from"]),
        (["fit", "--trainer.max_ep"], ["--trainer.max_epochs"]),
        (["fit", "--model.flow.num_lev"], ["--model.flow.num_levels"]),
        (["fit", "--config", "dem"], ["demo.yaml"]),
        (["fit", "--config", "script"], ["script.bash"]),
        (["fit", "-c", "dem"], ["demo.yaml"]),
        (["fit", "--data.root", "script"], ["script.bash"]),
        (["predict", "--page", "script"], ["script.bash"]),
        (["demo", "--fit_config", "script"], ["script.bash"]),
        (["fit", "--model.flow", "Coupl"], ["CouplingFlow"]),
        (["fit", "--data", "ImageF"], ["ImageFolderDataModule"]),
        (["fit", "--optimizer", "AdamW"], ["AdamW"]),
        (["fit", "--optimizer", "=", "AdamW"], ["AdamW"]),
        (["fit", "--model.flow", "=", "Coupl"], ["CouplingFlow"]),
        (["fit", "--allow_split_change", "="], ["true", "false"]),
        (["fit", "--trainer.callbacks+", "=", "AveragedW"], ["AveragedWeights"]),
        (["figure", "near"], ["nearest"]),
        (["figure", "nearest", "--ck"], ["--ckpt_path"]),
        (["table", "v"], ["vae"]),
        (["completion", ""], ["bash", "zsh", "tcsh"]),
        (["fit", "--allow_split_change", "t"], ["true"]),
        (["table", "--fit"], ["--fit"]),
        (["sample", "scr"], ["script.bash"]),
    ],
)
def test_bash_completes(words: list[str], expected: list[str], script: Path) -> None:
    assert completed(script, *words) == expected


def test_every_command_is_completed(script: Path) -> None:
    assert {*TRAINER_COMMANDS, *COMMANDS} <= set(completed(script, ""))


def test_options_that_are_determined_elsewhere_are_not_completed() -> None:
    names = {option.name for option in completed_options("fit")}
    assert "--model.flow" in names
    assert not {"--model.event_shape", "--model.flow.event_shape"} & names


@pytest.mark.parametrize("text", ["  -c CONFIG, --config CONFIG\n", "  -c, --config CONFIG\n", "  --config CONFIG"])
def test_options_with_a_short_form_are_found_in_the_help_of_any_python(text: str) -> None:
    assert OPTION.findall(text) == [("--config", "")]


def test_default_configs_are_not_completed() -> None:
    assert "demo.yaml" in packaged_configs()
    assert not any("defaults" in name for name in packaged_configs())


ZSH = """
fpath=({folder} $fpath); autoload -Uz compinit; compinit -u -D
lightning-flows() {{ print -r -- "<$*>" }}
"""


def completed_in_zsh(folder: Path, lines: list[str]) -> list[str]:
    """Type commands into an interactive zsh, each followed by a tab and a newline, and return their arguments."""
    process, terminal = pty.fork()
    if not process:
        os.environ |= {"TERM": "dumb", "COLUMNS": "200"}
        os.execvp("zsh", ["zsh", "-f", "-i"])
    os.write(terminal, ZSH.format(folder=folder).encode())
    found = []
    for line in lines:
        os.write(terminal, f"lightning-flows {line}\t\n".encode())
        shown, end = "", time.monotonic() + 60
        while not (printed := re.findall(r"^<(.*)>", shown, re.M)) and time.monotonic() < end:
            if select.select([terminal], [], [], 0.1)[0]:
                shown += os.read(terminal, 65536).decode(errors="replace")
        found += printed
    os.close(terminal)  # which ends the shell
    os.waitpid(process, 0)
    return found


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh")
def test_zsh_completes(tmp_path: Path) -> None:
    write_script("zsh", tmp_path / "_lightning-flows")
    expected = {
        "fig": "figure",
        "fit --weights": "fit --weights_from",
        "fit --config dem": "fit --config demo.yaml",
        "fit --config=dem": "fit --config=demo.yaml",
        f"fit --config {tmp_path}/_light": f"fit --config {tmp_path}/_lightning-flows",
        "fit --model.flow Coupl": "fit --model.flow CouplingFlow",
        "fit --model.flow=Coupl": "fit --model.flow=CouplingFlow",
        "fit --allow_split_change=t": "fit --allow_split_change=true",
        "table v": "table vae",
    }
    assert completed_in_zsh(tmp_path, list(expected)) == list(expected.values())


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["completion", shell])
    assert "lightning-flows" in capsys.readouterr().out


def test_an_unknown_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["completion", "fish"])
    assert "fish, which is not one of bash, zsh, tcsh" in capsys.readouterr().err
